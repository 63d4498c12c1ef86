"""What is wrong with samples is named; what says the same is found; what is too long is split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from swift.chat.message import Media, Message, Sample
from swift.chat.tokenize import Tokenizer
from swift.dataset.clean import cleaned, key_of
from swift.dataset.encode import encode
from swift.dataset.encoded import Encoded
from swift.dataset.pieces import pieces
from swift.dataset.report import Report
from swift.dataset.twins import apart, distinct, near_duplicates, near_leaked
from tests.kit import tiny_chat_model

WORDS = ["red", "blue", "tall", "small", "tree", "stone", "river", "light", "seven", "under"]


def turns(*said: str) -> tuple[Message, ...]:
    """Return messages: "user: hello", "assistant: hi"."""
    split = [line.partition(": ") for line in said]
    return tuple(Message(role=role, content=content) for role, _, content in split)


def talk(*said: str, **more: object) -> Sample:
    return Sample(chosen=turns(*said), origin="a.jsonl:1", **more)  # type: ignore[arg-type]


GOOD = ("user: hello", "assistant: good day")

FAULTS = {
    "control-characters": talk("user: a\x00b", "assistant: c"),
    "garbled": talk("user: caf\ufffd", "assistant: c"),
    "role-order": talk("user: a", "user: b", "assistant: c"),
    "missing-media": talk(
        "user: <image>?", "assistant: c", media=(Media(kind="image", source="no.png"),)
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str, tmp_path: Path) -> None:
    report = Report()
    left = list(cleaned([FAULTS[name]], report, folder=str(tmp_path)))
    assert report.counts == {name: 1}
    assert report.origins == {name: ["a.jsonl:1"]}
    assert bool(left) == (report.policy(name) == "keep")


@pytest.mark.parametrize(
    "sample",
    [
        talk(*GOOD),
        talk("system: be brief", *GOOD, "user: 你好", "assistant: 您好 😀\n\t\x1b[31mred"),
        talk("user: find it", "assistant: ", "tool: 7", "tool: 8", "assistant: 7"),
        talk("user: what is \ufffd called in Unicode?" + " why" * 99, "assistant: a substitute"),
        talk("user: <image>?", "assistant: c", media=(Media(kind="image", source="a.png"),)),
        talk(
            "user: <image>?",
            "assistant: c",
            media=(Media(kind="image", source="https://example.com/a.png"),),
        ),
        Sample(text="plain", origin="a.txt"),
    ],
)
def test_a_clean_sample_is_left_alone(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    report = Report()
    assert list(cleaned([sample], report, folder=str(tmp_path))) == [sample]
    assert not report.counts


def test_samples_that_say_the_same_have_one_key_wherever_they_come_from() -> None:
    a, b = talk(*GOOD), Sample(chosen=turns(*GOOD), origin="other:9")
    assert key_of(a) == key_of(b)
    others = [
        talk("user: hello good", "assistant: day"),
        talk(*GOOD, "user: x"),
        talk(*GOOD, label=True),
        talk(*GOOD, media=(Media(kind="image", source="a.png"),)),
        talk(*GOOD, tools=({"type": "function"},)),
        Sample(chosen=turns(*GOOD), rejected=turns(*GOOD)),
        Sample(text="hello"),
    ]
    assert len({key_of(sample) for sample in [a, *others]}) == 1 + len(others)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.load(tiny_chat_model(tmp_path_factory.mktemp("model")))


def encoded(texts: Sequence[str], tokenizer: Tokenizer, report: Report | None = None) -> Encoded:
    samples = [Sample(text=text, origin=f"a.txt:{i}") for i, text in enumerate(texts)]
    return encode(
        samples,
        None,
        tokenizer,
        pairs=False,
        supervise="all",
        max_length=4000,
        on_long="fail",
        report=report or Report(),
    )


def text(seed: int, count: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def test_duplicates_are_counted_and_named_and_kept_unless_dropped(tokenizer: Tokenizer) -> None:
    for policy, left in (("keep", 4), ("drop", 2)):
        report = Report(policies={"duplicate": policy})
        items = encoded(["a b", "c d", "a b", "a b"], tokenizer, report)
        made = distinct(items, report)
        assert (len(made), report.samples) == (left, left)
        assert report.counts == {"duplicate": 2}
        assert report.origins["duplicate"] == ["a.txt:2 as a.txt:0", "a.txt:3 as a.txt:0"]
        assert report.tokens == made.lengths.sum()


def test_near_duplicates_are_found_at_their_threshold(tokenizer: Tokenizer) -> None:
    """One word of 60 changed: 54 of 66 runs of five words stay in common, or a few more."""
    whole = [text(seed) for seed in range(50)]
    close = [f"{whole[i]} tree" for i in range(10)]
    far = [whole[i][: len(whole[i]) // 2] + text(99 + i, 30) for i in range(10)]
    made = encoded([*whole, *close, *far], tokenizer)
    assert near_duplicates(made, 0.9) == {50 + i: i for i in range(10)}
    report = Report(samples=len(made))
    assert len(distinct(made, report, near=0.9)) == 60
    assert report.counts == {"near-duplicate": 10}


def test_near_duplicates_do_not_depend_on_how_many_are_looked_at_at_once(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [text(seed) for seed in range(20)]
    made = encoded([*whole, *(f"{one} tree" for one in whole)], tokenizer)
    before = near_duplicates(made, 0.8)
    monkeypatch.setattr("swift.dataset.shingles._AT_ONCE", 700)
    assert near_duplicates(made, 0.8) == before
    assert len(before) == 20


def test_validation_samples_that_are_trained_on_are_named(tokenizer: Tokenizer) -> None:
    rows = [text(seed) for seed in range(60)]
    train = encoded(rows, tokenizer)
    held = encoded([rows[7], text(1000), f"under {rows[9]} tree"], tokenizer)
    report = Report()
    assert len(apart(train, held, report, near=True)) == 3
    assert report.counts == {"leaked": 1, "near-leaked": 1}
    assert report.origins == {
        "leaked": ["a.txt:0 as a.txt:7"],
        "near-leaked": ["a.txt:2 as a.txt:9"],
    }
    dropping = Report(policies={"leaked": "drop"})
    assert list(apart(train, held, dropping, near=True).origins) == ["a.txt:1"]


def test_what_every_row_says_is_no_leak(tokenizer: Tokenizer) -> None:
    system = text(5, 40)
    train = encoded([f"{system} {text(seed, 30)}" for seed in range(200)], tokenizer)
    held = encoded([f"{system} {text(seed, 30)}" for seed in range(900, 910)], tokenizer)
    assert near_leaked(train, held) == {}


def test_a_text_that_is_too_long_becomes_several_that_say_all_of_it(tokenizer: Tokenizer) -> None:
    whole = text(1, 400)
    parts = pieces(Sample(text=whole), tokenizer, lambda sample: 0, 50)
    assert "".join(part.text for part in parts) == whole
    assert all(len(tokenizer.encode(part.text)) < 50 for part in parts)
    assert all(part.text.endswith((" ", *WORDS)) for part in parts)
    assert len(parts) <= 1.2 * len(tokenizer.encode(whole)) / 49 + 1


def test_a_talk_that_is_too_long_is_split_before_a_user_speaks() -> None:
    said = ["user: one two", "assistant: three", "user: four", "assistant: five", "tool: six"]
    sample = talk("system: s", *said, "user: seven", "assistant: eight")

    def size(sample: Sample) -> int:
        return sum(len(turn.content.split()) for turn in sample.chosen)

    parts = pieces(sample, None, size, 5)  # type: ignore[arg-type]  # which texts alone need
    assert [part.chosen for part in parts] == [
        turns("system: s", *said[:2]),
        turns("system: s", *said[2:]),
        turns("system: s", "user: seven", "assistant: eight"),
    ]


def test_split_is_counted_and_loses_nothing(tokenizer: Tokenizer) -> None:
    report = Report()
    made = encode(
        [Sample(text=text(1, 400), origin="a.txt:1"), Sample(text="short", origin="a.txt:2")],
        None,
        tokenizer,
        pairs=False,
        supervise="all",
        max_length=64,
        on_long="split",
        report=report,
    )
    assert report.counts == {"split": 1}
    assert report.lost == 0
    assert set(made.origins) == {"a.txt:1", "a.txt:2"}
    joined = [token for i in range(len(made) - 1) for token in made.sequence(i, 0)[0][:-1]]
    assert tokenizer.decode(joined) == text(1, 400)
