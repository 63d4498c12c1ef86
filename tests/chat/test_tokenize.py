"""Claims about the tokenizer: transformers' ids, and marks that follow the characters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.chat.message import Message
from swift.chat.source import load
from swift.chat.template import Spanned
from swift.chat.tokenize import Tokenizer
from swift.core.errors import DataError
from tests.kit import tiny_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_ids_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    from transformers import AutoTokenizer

    folder = tiny_chat_model(tmp_path, kind=kind)
    theirs = AutoTokenizer.from_pretrained(folder)
    template, ours = load(folder), Tokenizer.load(folder)
    for text in ("it is the and", "  two  blanks ", "é猫🙂\n\n", "<|im_end|>assistant", ""):
        turns = [Message(role="user", content=text), Message(role="assistant", content=text)]
        chat = [m.as_dict() for m in turns]
        expected = theirs.apply_chat_template(chat, tokenize=True, return_dict=False)
        assert ours.encode_spanned([template.spans(turns)])[0][0] == expected
        assert ours.encode(template.render(turns)) == expected
        assert ours.decode(expected) == theirs.decode(expected)
    assert (ours.eos_id, ours.pad_id, ours.bos_id) == (
        theirs.eos_token_id,
        theirs.pad_token_id,
        theirs.bos_token_id,
    )
    assert ours.size == len(theirs)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_token_is_the_assistants_when_its_first_character_is(
    tokenizer: Tokenizer, data: st.DataObject, text: str
) -> None:
    text = text + " the assistant <|im_end|>" + text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    spans = ((cuts[0], cuts[1]), (cuts[2], cuts[3]))
    ids, marks = tokenizer.encode_spanned([Spanned(text, spans)])[0]
    made = tokenizer.backend.encode(text, add_special_tokens=False)
    assert ids == tokenizer.encode_batch([text])[0] == made.ids
    assert marks == [any(b <= first < e for b, e in spans) for first, _ in made.offsets]


def test_a_post_processor_moves_no_mark(tokenizer: Tokenizer, folder: Path, tmp_path: Path) -> None:
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    saved["post_processor"] = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    spanned = Spanned("is  the of", ((4, 10),))
    trimming = Tokenizer.load(tmp_path)
    assert trimming.encode_spanned([spanned]) == tokenizer.encode_spanned([spanned])


def test_characters_that_the_tokenizer_drops_shift_nothing(tmp_path: Path, folder: Path) -> None:
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    saved["normalizer"] = {"type": "Replace", "pattern": {"String": "#"}, "content": ""}
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    ids, marks = Tokenizer.load(tmp_path).encode_spanned([Spanned("zq##xj##", ((2, 5), (6, 8)))])[0]
    assert (len(ids), marks) == (4, [False, False, True, False])


def write(folder: Path, to: Path, config: dict[str, Any], generation: dict[str, Any]) -> Path:
    """Copy a tokenizer with other words about it."""
    (to / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (to / "tokenizer_config.json").write_text(json.dumps(config))
    (to / "generation_config.json").write_text(json.dumps(generation))
    return to


def test_answers_stop_at_every_end_that_is_named(folder: Path, tmp_path: Path) -> None:
    config = {"eos_token": "<|im_end|>", "bos_token": {"content": "<|im_start|>"}}
    made = Tokenizer.load(write(folder, tmp_path, config, {"eos_token_id": [0, 2]}))
    assert (made.eos_id, made.stop_ids, made.bos_id) == (2, (2, 0), 1)
    assert made.pad_id == made.eos_id, "no pad_token: the end of the text fills up"


def test_the_generation_config_names_the_end_where_the_tokenizer_does_not(
    folder: Path, tmp_path: Path
) -> None:
    assert Tokenizer.load(write(folder, tmp_path, {}, {"eos_token_id": 2})).stop_ids == (2,)


def test_a_tokenizer_without_an_end_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no token ends a text"):
        Tokenizer.load(write(folder, tmp_path, {"eos_token": "<nowhere>"}, {}))


def test_a_folder_without_a_fast_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no tokenizer\.json") as caught:
        Tokenizer.load(tmp_path)
    assert "save_pretrained" in caught.value.problems[0].fix
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        Tokenizer.load(tmp_path)
