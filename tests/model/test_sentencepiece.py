"""A sentencepiece model as a fast tokenizer: the ids of sentencepiece itself, for any text."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from swift.chat.message import Message
from swift.chat.source import load
from swift.chat.tokenize import Tokenizer
from swift.core.errors import PlanError
from swift.model.find import find_model
from swift.model.quirks._sentencepiece import fast_tokenizer, read_pieces
from tests.kit import tiny_qwen_v1
from tests.model.test_rewritten import WORDS, chatglm, drawn, internlm

LINES = [
    "the model said that it will, it's 2024",
    "你好世界，今天天气很好。你好！",
    "你说你好吗 the end",
    "  two  blanks",
    "aaaa bbbb abab\n问：ab\n\n答：ba",
]
TEXT = st.text(alphabet=" '\n\t.,的好你世thedsamlabEN12é🙂\u0301▁<u>", max_size=30)
KINDS: dict[str, dict[str, Any]] = {
    "bpe": {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True},
    "bare": {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "blank": False},
    "squeezed": {"model_type": "bpe", "vocab_size": 90, "squeeze": True},
    "unigram": {"model_type": "unigram", "vocab_size": 300, "byte_fallback": True},
}


def trained(
    path: Path,
    *,
    defined: Sequence[str] = (),
    blank: bool = True,
    squeeze: bool = False,
    **more: Any,
) -> Path:
    """Write a tiny sentencepiece model and return its path."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 6),
        model_writer=written,
        **{"normalization_rule_name": "identity", "minloglevel": 2, **more},
        add_dummy_prefix=blank,
        remove_extra_whitespaces=squeeze,
        user_defined_symbols=list(defined),
    )
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pieces")
    for name, kind in KINDS.items():
        trained(made / name, defined=["<u>"], **kind)
    return made


@cache
def both(path: Path) -> tuple[Any, Any]:
    from tokenizers import Tokenizer as Backend

    pieces = read_pieces(path)
    special = {"<s>": 1, "</s>": 2}
    made = Backend.from_str(json.dumps(fast_tokenizer(pieces, path, special)))
    return sentencepiece.SentencePieceProcessor(model_file=str(path)), made


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example(text="  aaaa<u>bbbb  the <u><u> 好▁")
@example(text="")
def test_the_ids_of_any_text_are_sentencepieces(folder: Path, kind: str, text: str) -> None:
    if text == "<u>":
        return  # the one case that differs: the next test
    if "<s>" in text:
        return  # a control token: text to sentencepiece, itself to every tokenizer of transformers
    theirs, ours = both(folder / kind)
    ids = theirs.encode(text)
    assert ours.encode(text).ids == ids
    if KINDS[kind].get("byte_fallback"):
        assert ours.decode(ids) == theirs.decode(ids)


def test_a_defined_piece_alone_gets_no_blank_in_front(folder: Path) -> None:
    theirs, ours = both(folder / "bpe")
    assert theirs.encode("<u>")[1:] == ours.encode("<u>").ids
    assert theirs.id_to_piece(theirs.encode("<u>")[0]) == "▁"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"normalization_rule_name": "nmt_nfkc"}, "exchanges characters by a table"),
        ({"model_type": "char", "vocab_size": 50}, "words or characters"),
        ({"model_type": "unigram", "vocab_size": 50}, "never reads `<s>` from a text"),
    ],
)
def test_what_a_fast_tokenizer_would_read_otherwise_is_refused(
    options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = trained(tmp_path / "t", **{"model_type": "bpe", "vocab_size": 120, **options})
    with pytest.raises(PlanError, match=says):
        fast_tokenizer(read_pieces(path), path, {})


@pytest.mark.parametrize("data", [b"", b"\xff" * 30, b"\x0a\xff\x01abc", b"version 1\n"])
def test_a_broken_file_is_said(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(PlanError, match=r"tokenizer\.model: no sentencepiece model"):
        read_pieces(path)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=40))
def test_no_bytes_bring_the_reader_down(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("b") / "m"
    path.write_bytes(data)
    try:
        read_pieces(path)
    except PlanError as error:
        assert "no sentencepiece model" in str(error)


# --- whole folders ------------------------------------------------------------------------------


def with_words(folder: Path, layout: Any, rows: int, **more: Any) -> Path:
    """Write a tiny folder of a layout whose vocabulary has `rows` rows."""
    config, shapes, _ = layout
    shapes = {n: (rows, *s[1:]) if s[0] == WORDS else s for n, s in shapes.items()}
    folder.mkdir()
    save_file(drawn(shapes), folder / "model.safetensors", metadata={"format": "pt"})
    sized = {k: rows if v == WORDS else v for k, v in config.items()}
    (folder / "config.json").write_text(json.dumps({**sized, "auto_map": {"A": "x.Y"}, **more}))
    return folder


def test_a_tokenizer_whose_added_tokens_took_places_keeps_every_id(tmp_path: Path) -> None:
    folder = with_words(tmp_path / "internlm", internlm(), 410)
    trained(folder / "tokenizer.model", defined=["[UNUSED_0]", "[UNUSED_1]"], **KINDS["bpe"])
    table = {"4": {"content": "<|im_end|>"}, "400": {"content": "<|more|>"}}
    told = {"eos_token": "<|im_end|>", "added_tokens_decoder": table, "chat_template": "{{ 1 }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    made = find_model(str(folder), tmp_path / "cache")
    ours = Tokenizer.load(made)
    assert ours.encode("<s><|im_end|><|more|>") == [1, 4, 400]
    assert ours.eos_id == 4
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert ours.encode("你好 the<|im_end|>aa") == [
        *theirs.encode("你好 the"),
        4,
        *theirs.encode("aa"),
    ]
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(made)
    assert loaded("aa")["input_ids"] == [1, *theirs.encode("aa")]
    assert loaded.chat_template == "{{ 1 }}"


def test_a_gap_before_an_added_token_is_refused(tmp_path: Path) -> None:
    folder = with_words(tmp_path / "internlm", internlm(), 410)
    trained(folder / "tokenizer.model", **KINDS["bpe"])
    (folder / "added_tokens.json").write_text(json.dumps({"<|more|>": 405}))
    with pytest.raises(PlanError, match=r"token 405 `<\|more\|>` comes after 400 others"):
        find_model(str(folder), tmp_path / "cache")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("", "[gMASK]<sop>[Round 1]\n\n问：ab\n\n答："),
        ("roles = ['<|user|>']", "[gMASK]<sop><|user|>\n ab<|assistant|>\n "),
    ],
)
def test_chatglm_2_and_3_speak_as_their_code_does(code: str, says: str, tmp_path: Path) -> None:
    folder = with_words(tmp_path / "glm", chatglm(), 420)
    trained(folder / "tokenizer.model", **KINDS["bpe"])
    (folder / "tokenization_chatglm.py").write_text(code)
    made = find_model(str(folder), tmp_path / "cache")
    talk = load(made).render([Message(role="user", content="ab")], generation_prompt=True)
    assert talk == says
    ours = Tokenizer.load(made)
    assert ours.encode("[gMASK]<sop>") == [401, 403]
    assert ours.encode("sop") == both_ids(folder, "sop")  # inside of words it is no token
    assert (ours.eos_id, ours.pad_id) == (2, 0)


def both_ids(folder: Path, text: str) -> list[int]:
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    found: list[int] = theirs.encode(text)
    return found


def test_glm_4s_ranks_are_read_from_the_file_of_the_same_name(tmp_path: Path) -> None:
    v1 = tiny_qwen_v1(tmp_path / "v1")
    ranks = (v1 / "qwen.tiktoken").read_bytes()
    count = len(ranks.splitlines())
    folder = with_words(tmp_path / "glm4", chatglm(), count + 12, eos_token_id=[count, count + 7])
    (folder / "tokenizer.model").write_bytes(ranks)
    made = find_model(str(folder), tmp_path / "cache")
    ours = Tokenizer.load(made)
    assert ours.encode("<|endoftext|>[gMASK]<sop><|user|>") == [count + i for i in (0, 2, 4, 7)]
    assert ours.stop_ids == (count, count + 7)
    table = {int(r): base64.b64decode(t) for t, r in map(bytes.split, ranks.splitlines())}
    assert (
        b"".join(table[i] for i in ours.encode("e\u0301 12345 你好")).decode()
        == "e\u0301 12345 你好"
    )
    assert load_file(made / "model.safetensors")["lm_head.weight"].shape[0] == count + 12
