"""Samples to tokens: what is supervised, what is counted, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from swift.chat.message import Message, Sample
from swift.chat.source import load
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.core.errors import DataError
from swift.dataset.encode import encode
from swift.dataset.encoded import Encoded
from swift.dataset.report import Report
from tests.kit import tiny_chat_model

Models = tuple[Template, Tokenizer]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tiny_chat_model(tmp_path_factory.mktemp("model"))
    return load(folder), Tokenizer.load(folder)


def chat(*turns: str, **more: Any) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(
        Message(role=roles[i % 2], content=t, loss=more.get(f"loss{i}"))
        for i, t in enumerate(turns)
    )


def encoded(
    models: Models, samples: Sequence[Sample], report: Report | None = None, **options: Any
) -> Encoded:
    settings: dict[str, Any] = {
        "pairs": False,
        "supervise": "answers",
        "max_length": 99,
        "on_long": "truncate",
    }
    return encode(samples, *models, **{**settings, **options}, report=report or Report())


def said(models: Models, made: Encoded, item: int, side: int = 0) -> str:
    ids, on = made.sequence(item, side)
    return models[1].decode(ids[on].tolist())


def test_the_answer_and_its_end_are_supervised(models: Models) -> None:
    made = encoded(models, [Sample(chosen=chat("Hi", "Hello", "More", "No"))])
    assert said(models, made, 0) == "Hello<|im_end|>\nNo<|im_end|>\n"
    whole = models[1].decode(made.sequence(0, 0)[0].tolist())
    assert whole == models[0].render(chat("Hi", "Hello", "More", "No"))


def test_all_tokens_are_supervised_on_demand(models: Models) -> None:
    made = encoded(models, [Sample(chosen=chat("Hi", "Hello"))], supervise="all")
    assert made.supervised.all()


def test_a_turn_without_loss_is_left_out(models: Models) -> None:
    made = encoded(models, [Sample(chosen=chat("a", "b", "c", "d", loss1=False))])
    assert said(models, made, 0) == "d<|im_end|>\n"


def test_turns_with_loss_are_the_only_ones(models: Models) -> None:
    made = encoded(models, [Sample(chosen=chat("a", "b", "c", "d", loss1=True))])
    assert said(models, made, 0) == "b<|im_end|>\n"


def test_of_a_pair_only_what_differs_is_supervised(models: Models) -> None:
    pair = Sample(chosen=chat("a", "b", "c", "good day"), rejected=chat("a", "b", "c", "good bye"))
    made = encoded(models, [pair], pairs=True)
    assert (said(models, made, 0, 0), said(models, made, 0, 1)) == (
        "good day<|im_end|>\n",
        "good bye<|im_end|>\n",
    )
    assert made.lengths.tolist() == [sum(len(made.sequence(0, s)[0]) for s in (0, 1))]


def test_text_ends_with_the_end_of_the_sequence(models: Models) -> None:
    made = encoded(models, [Sample(text="seven stones")])
    ids, on = made.sequence(0, 0)
    assert models[1].decode(ids.tolist()) == "seven stones<|im_end|>"
    assert on.all()


def test_text_and_conversations_may_stand_in_any_order(models: Models) -> None:
    text, talk = Sample(text="seven stones"), Sample(chosen=chat("Hi", "Hello"))
    report = Report()
    made = encoded(models, [talk, text, text, talk], report)
    assert [said(models, made, i) for i in range(4)] == [
        "Hello<|im_end|>\n",
        "seven stones<|im_end|>",
        "seven stones<|im_end|>",
        "Hello<|im_end|>\n",
    ]
    assert not report.counts


def test_conversations_among_text_are_refused_by_name(models: Models) -> None:
    samples = [Sample(text="a", origin="x:1"), Sample(chosen=chat("Hi", "Hello"), origin="x:2")]
    with pytest.raises(DataError, match="x:2: these rows are conversations"):
        encoded((None, models[1]), samples)  # type: ignore[arg-type]


def test_a_long_sample_is_cut_dropped_or_stops_all(models: Models) -> None:
    long = Sample(chosen=chat("Hi", "one two three four five six seven"), origin="x:7")
    short = Sample(chosen=chat("Hi", "one"), origin="x:8")
    report = Report()
    assert encoded(models, [long, short], report, max_length=20).lengths.max() == 20
    assert report.counts == {"truncated": 1}
    report = Report()
    assert len(encoded(models, [long, short], report, max_length=20, on_long="drop")) == 1
    assert (report.counts, report.origins) == ({"too-long": 1}, {"too-long": ["x:7"]})
    with pytest.raises(DataError, match=r"x:7: \d+ tokens, more than max_length 20"):
        encoded(models, [long, short], max_length=20, on_long="fail")


def test_nothing_supervised_is_counted_and_left_out(models: Models) -> None:
    report = Report()
    samples = [
        Sample(chosen=chat("a long question of many words that fills all", "yes"), origin="x:1"),
        Sample(chosen=chat("Hi", "Hello")),
    ]
    assert len(encoded(models, samples, report, max_length=26)) == 1
    assert report.counts["no-supervised-token"] == 1
    assert "no-supervised-token: 1 (x:1)" in report.describe()


def test_nothing_left_is_an_error_that_says_why(models: Models) -> None:
    with pytest.raises(DataError, match=r"(?s)no sample is left.*too-long: 1"):
        encoded(models, [Sample(chosen=chat("Hi", "Hello"))], max_length=3, on_long="drop")


def test_counts_add_up(models: Models) -> None:
    report = Report()
    made = encoded(models, [Sample(chosen=chat("Hi", "Hello"))] * 5, report)
    assert (report.samples, report.tokens) == (5, len(made.ids))
    assert report.supervised == int(made.supervised.sum())


def test_the_fingerprint_sees_ids_marks_and_order(models: Models) -> None:
    a, b = Sample(chosen=chat("a", "b")), Sample(chosen=chat("c", "d"))
    cases: list[tuple[list[Sample], dict[str, Any]]] = [
        ([a, b], {}),
        ([b, a], {}),
        ([a], {}),
        ([a, b], {"supervise": "all"}),
    ]
    prints = {encoded(models, samples, **options).fingerprint() for samples, options in cases}
    assert len(prints) == 4
    assert encoded(models, [a, b]).fingerprint() in prints


def test_a_share_can_be_taken(models: Models) -> None:
    samples = [Sample(chosen=chat("q", f"answer {i}"), origin=f"x:{i}") for i in range(6)]
    made = encoded(models, samples)
    part = made.take([4, 1])
    assert list(part.origins) == ["x:4", "x:1"]
    assert np.array_equal(part.sequence(0, 0)[0], made.sequence(4, 0)[0])


def test_a_row_that_the_template_refuses_is_counted_with_its_words(models: Models) -> None:
    refusing = Template("{{ raise_exception('no system here') }}", {})
    said = r"(?s)no sample is left.*template-refuses: 1 \(mine\.jsonl:3 \(.*no system here"
    with pytest.raises(DataError, match=said):
        encoded((refusing, models[1]), [Sample(chosen=chat("a", "b"), origin="mine.jsonl:3")])
