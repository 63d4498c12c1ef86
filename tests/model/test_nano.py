"""The embedded model: what ships, what it was made from, what it must never have seen."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import swift
from swift.dataset.generated import samples
from swift.dataset.generated.held_out import POOLS, REDRAWN, WORDS
from swift.dataset.generated.orders import KEYS
from swift.dataset.generated.words import HAN
from swift.score.exact_match import same_json

NANO = Path(swift.__file__).parent / "model" / "nano"
KINDS = ("combo", "new", "pseudo")


def test_it_is_small() -> None:
    assert (NANO / "model.safetensors").stat().st_size <= 4_000_000


def test_transformers_opens_it_and_its_tokens_round_trip() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NANO)
    model = AutoModelForCausalLM.from_pretrained(NANO)
    text = 'I want one vase, in golden: 你要的花瓶 🙂 {"price": 345}'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert model.config.vocab_size == len(tokenizer) == 2048


def test_the_prompts_ids_are_those_of_transformers() -> None:
    from transformers import AutoTokenizer

    from swift.chat.message import Message
    from swift.chat.source import load
    from swift.chat.tokenize import Tokenizer

    theirs = AutoTokenizer.from_pretrained(NANO)
    asked = [Message(role="system", content="你好"), Message(role="user", content="Send 12 lamps!")]
    text = load(NANO).render(asked, generation_prompt=True)
    ids = theirs.apply_chat_template(
        [m.as_dict() for m in asked], add_generation_prompt=True, return_dict=False
    )
    assert Tokenizer.load(NANO).encode(text) == ids


def test_rows_are_a_function_of_the_seed() -> None:
    def digest(name: str, split: str, seed: int) -> str:
        rows = list(islice(samples(name, split, seed), 300))
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    assert digest("orders", "train", 1) == digest("orders", "train", 1)
    assert digest("orders", "train", 1) != digest("orders", "train", 2)
    assert digest("text", "train", 1) != digest("text", "validation", 1)


def text_of(rows: Iterable[dict[str, Any]]) -> str:
    """Return all that the rows say, in small letters, a message a line."""
    return "\n".join(m["content"] for row in rows for m in row["messages"]).lower()


def held_by(text: str, words: Iterable[str]) -> list[str]:
    """Return those of `words` that `text` holds: English ones whole, Chinese ones anywhere."""
    english = set(re.findall("[a-z]+", text))
    return [w for w in words if (w.lower() in english if w.isascii() else w in text)]


def test_a_held_out_word_is_found_wherever_it_stands() -> None:
    assert held_by("一艘木\n船", ["木船"]) == []
    assert held_by("山木船水 drums", ["木船", "drum"]) == ["木船"]
    assert held_by('{"item": "drum"}', ["drum"]) == ["drum"]


def test_held_out_words_are_in_no_text_it_learns_from() -> None:
    assert not held_by(text_of(islice(samples("text", "train", 1), 20_000)), WORDS)
    for seed in range(1, 6):
        assert not held_by(text_of(samples("orders", "train", seed)), WORDS)


@pytest.mark.slow
def test_held_out_words_are_in_no_row_of_the_whole_text() -> None:
    said = text_of(samples("text", "train", 1))
    assert not held_by(said, WORDS)
    # The weights were made from this very text, and cannot be made again in a test.
    assert len(said) == 10_738_562
    assert hashlib.sha256(said.encode()).hexdigest().startswith("6f350da03647f642")


def test_the_list_that_the_weights_were_made_with_has_not_changed() -> None:
    rows = list(islice(samples("text", "train", 1), 2000))
    said = json.dumps(rows, ensure_ascii=False).encode()
    assert hashlib.sha256(said).hexdigest().startswith("66811f868eeaf617")
    listed = "\n".join(sorted(REDRAWN)).encode()
    assert hashlib.sha256(listed).hexdigest().startswith("fdc061e33051ed62")


def test_fresh_made_up_words_are_in_no_training_row() -> None:
    rows = samples("orders", "pseudo", 20)
    answers = [json.loads(row["messages"][1]["content"]) for row in rows]
    fresh = {answer[key] for answer in answers for key in KEYS[:3]}
    assert len(fresh) > 500
    for seed in range(1, 6):
        assert not held_by(text_of(samples("orders", "train", seed)), fresh)


def test_the_text_never_asks_the_task() -> None:
    for row in islice(samples("text", "train", 1), 20_000):
        answer = row["messages"][1]["content"]
        assert not any(f'"{key}"' in answer for key in KEYS)


def test_held_out_combinations_are_in_no_training_row() -> None:
    def combinations(split: str, seed: int) -> set[tuple[str, ...]]:
        answers = [json.loads(r["messages"][1]["content"]) for r in samples("orders", split, seed)]
        return {tuple(a[k] for k in KEYS[:3]) for a in answers}

    held = combinations("combo", 7)
    assert not any(held & combinations("train", seed) for seed in range(3))


def test_every_character_of_a_chinese_word_is_known() -> None:
    assert all(c in HAN for pool in POOLS["zh"] for word in pool for c in word)


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_can_be_answered_from_its_words_alone(kind: str) -> None:
    for row in samples("orders", kind, 3):
        asked, answer = (m["content"] for m in row["messages"])
        assert all(str(value) in asked for value in json.loads(answer).values())


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"item": "lamp", "price": 3}', True),
        ('{"price": 3, "item": "lamp"}', True),
        ('{"item": "lamp", "price": "3"}', False),
        ('{"item": "lamp", "price": 3.0}', False),
        ('{"item": "lamp", "price": 4, "price": 3}', False),
        ('{"item": "lamp", "price": 3, "city": null}', False),
        ('{"item": "lamp"}', False),
        ('{"item": "lamp", "price": 3} and more', False),
        ("", False),
    ],
)
def test_an_answer_is_right_or_wrong(answer: str, right: bool) -> None:
    assert same_json(answer, '{"item": "lamp", "price": 3}') is right


@pytest.mark.parametrize("pair", [("1", "true"), ("0", "false"), ("[1]", "[1.0]"), ("0", "null")])
def test_values_of_two_json_types_are_never_equal(pair: tuple[str, str]) -> None:
    assert not same_json(*pair)
    assert not same_json(*reversed(pair))
    assert same_json(pair[0], pair[0])
    assert same_json(pair[1], pair[1])


@pytest.mark.slow
def test_its_tokenizer_and_first_weights_follow_from_the_seed(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "bench" / "nano" / "build.py"
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two):
        subprocess.run([sys.executable, str(script), str(out)], check=True, capture_output=True)
    weights = [(out / "model.safetensors").read_bytes() for out in (one, two)]
    assert weights[0] == weights[1]
    for name in ("tokenizer.json", "chat_template.jinja", "tokenizer_config.json"):
        assert json_or_text(one / name) == json_or_text(NANO / name), name


def test_shipping_what_is_shipped_changes_nothing_and_all_may_read_it(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "bench" / "nano" / "ship.py"
    ship = runpy.run_path(str(script))["ship"]
    ship(NANO, tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (NANO / path.name).read_bytes(), path.name
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def json_or_text(path: Path) -> object:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else text


@pytest.mark.slow
def test_a_short_tune_learns_the_task(tmp_path: Path) -> None:
    """A learning test: a fifth of the recipe already answers most held-out orders."""
    import os

    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "swift", "sft", str(root / "recipes" / "nano-orders.yaml")]
    words += ["--max_steps", "120", "--output_dir", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, capture_output=True, env=environment)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import learn; from pathlib import Path;"
        "from swift.checkpoint import newest;"
        "model = learn.load(newest(Path(sys.argv[2])));"
        "print('share', sum(learn.exact(*model, k, 40) for k in learn.KINDS) / 3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root / "bench"), str(tmp_path / "run")],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert float(done.stdout.split()[-1]) > 0.6
