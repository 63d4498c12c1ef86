"""Scores worked out by hand, and the interval of a share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.checkpoint import served
from swift.core.errors import DataError
from swift.engine import Delta, Engine, Fresh, Load, Request, Sampling, Served
from swift.engine._torch import TorchEngine
from swift.engine.torch import Torch
from swift.run.evaluate import evaluate, evaluate_rows, folder_for, tally, wilson
from swift.run.infer import Inference
from swift.score.exact_match import ExactMatch
from tests.kit import chat_rows, tiny_chat_model


class Parrot:
    """Says a fixed answer to each question; an Engine without a model."""

    def __init__(self, folder: Path, answers: Mapping[str, str]) -> None:
        from swift.chat.speaker import Speaker

        self.served: Served = served(str(folder))
        self.speaker = Speaker.load(folder)
        self._answers = answers

    def submit(self, request: Request, deliver: Callable[[Delta], None]) -> Callable[[], None]:
        asked = self.speaker.tokenizer.decode(request.ids)
        text = next(a for q, a in self._answers.items() if f"\n{q}<|im_end|>" in asked)
        deliver(Delta(text=text, ids=tuple(self.speaker.text(text)), finish="stop"))
        return lambda: None

    def begin(
        self, requests: Sequence[Request], deliver: Callable[[int, Delta], None]
    ) -> Callable[[], None]:
        raise NotImplementedError

    def generate(self, requests: Sequence[Request]) -> list[Delta]:
        raise NotImplementedError

    def sync(self, fresh: Fresh) -> None:
        raise NotImplementedError

    def load(self) -> Load:
        return Load(running=0, waiting=0, blocks=0, blocks_total=0)

    def close(self, drain: bool = False) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


ROWS: list[dict[str, Any]] = [
    {"query": "one", "response": "3"},
    {"query": "two", "response": "3"},
    {"query": "three", "response": '{"a": 1, "b": 2}'},
    {"query": "four", "response": "true"},
    {"query": "five", "response": "no"},
    {"query": "six"},
    {"colour": "red"},
]
SAID = {
    "one": " 3\n",
    "two": "3.0",
    "three": '{"b": 2, "a": 1}',
    "four": "1",
    "five": "No",
    "six": "a",
}


def test_a_score_worked_out_by_hand(folder: Path) -> None:
    """As text only "one" is right, of five rows that hold an answer."""
    found = evaluate(Parrot(folder, SAID), ROWS)
    assert (found.rows, found.right, found.unanswered, found.failed) == (5, 1, 1, 1)
    assert found.share == 0.2
    speaker = Parrot(folder, SAID).speaker
    assert found.tokens == sum(len(speaker.text(text)) for text in SAID.values())


def test_json_is_scored_by_value_and_type(folder: Path) -> None:
    """3 is 3, keys come in any order; 3.0 is not 3 and 1 is not true."""
    found = evaluate(Parrot(folder, SAID), ROWS[:4], ExactMatch(normal="json"))
    assert (found.rows, found.right) == (4, 2)
    with pytest.raises(DataError, match="row 4: the right answer is no JSON"):
        evaluate(Parrot(folder, SAID), ROWS, ExactMatch(normal="json"))


def test_a_row_that_could_not_be_asked_is_wrong_if_it_holds_an_answer() -> None:
    lines = [{"index": 0, "error": "too long", "labels": "a"}, {"index": 1, "error": "broken-line"}]
    found = tally(lines, ExactMatch())
    assert (found.rows, found.right, found.failed) == (1, 0, 2)


@pytest.mark.parametrize(
    ("right", "rows", "interval"),
    [
        # the examples of Newcombe (1998), table I, the score method without correction
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (0.8830, 1.0)),
    ],
)
def test_the_interval_is_wilsons(right: int, rows: int, interval: tuple[float, float]) -> None:
    assert wilson(right, rows) == pytest.approx(interval, abs=6e-5)


def test_no_rows_have_no_share() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(evaluate_nothing().share)


def evaluate_nothing() -> Any:
    return tally([], ExactMatch())


class Quiet:
    def begin(self, done: int, total: int) -> None: ...
    def row(self, tokens: int) -> None: ...
    def end(self) -> None: ...


def test_an_evaluation_leaves_its_lines_and_its_result(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    work = Inference(served=served(str(folder)), rows=str(data), output=tmp_path / "e/eval.jsonl")
    found = evaluate_rows(work, ExactMatch(), lambda: Parrot(folder, SAID), Quiet())
    assert (found.tally.rows, found.tally.right) == (5, 1)
    card = json.loads((tmp_path / "e/eval.json").read_text())
    assert (card["rows"], card["right"], card["share"]) == (5, 1, 0.2)
    assert card["interval_95"] == pytest.approx(wilson(1, 5))
    assert len((tmp_path / "e/eval.jsonl").read_text().splitlines()) == len(ROWS)


def test_scored_again_in_another_way_nothing_is_asked_again(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:4]))
    work = Inference(served=served(str(folder)), rows=str(data), output=tmp_path / "e/eval.jsonl")
    evaluate_rows(work, ExactMatch(), lambda: Parrot(folder, SAID), Quiet())

    def never() -> Engine:
        raise AssertionError("opened")

    assert evaluate_rows(work, ExactMatch(normal="json"), never, Quiet()).tally.right == 2


def test_rows_without_any_answer_are_refused(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"query": "six"}\n')
    work = Inference(served=served(str(folder)), rows=str(data), output=tmp_path / "eval.jsonl")
    with pytest.raises(DataError, match="none of the 1 rows"):
        evaluate_rows(work, ExactMatch(), lambda: Parrot(folder, SAID), Quiet())


def test_a_model_is_right_on_what_it_says_itself(folder: Path, tmp_path: Path) -> None:
    """Greedy answers, given back as the truth, are all matched."""
    greedy = Sampling(temperature=0, max_tokens=8)
    engine = TorchEngine(served(str(folder)), Torch())
    try:
        asked = [json.loads(x)["messages"][:1] for x in rows_of(tmp_path)]
        from swift.chat.message import Message

        requests = [
            Request(ids=engine.speaker.chat([Message(**turns[0])]), sampling=greedy)
            for turns in asked
        ]
        said = [answer.text for answer in engine.generate(requests)]
        rows = [
            {"messages": [*turns, {"role": "assistant", "content": text}]}
            for turns, text in zip(asked, said, strict=True)
            if text
        ]
        found = evaluate(engine, rows, sampling=greedy)
    finally:
        engine.close()
    assert found.rows == len(rows) > 10 and found.share == 1.0


def rows_of(tmp_path: Path) -> list[str]:
    return chat_rows(tmp_path / "rows.jsonl", 20).read_text().splitlines()


def test_an_evaluation_goes_beside_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/x/checkpoint-5").mkdir(parents=True)
    assert folder_for("runs/x", "a/rows.jsonl") == Path("eval-rows")
    (tmp_path / "runs/x/checkpoint-5/swift.json").write_text("{}")
    assert folder_for("runs/x", "a/rows.jsonl") == Path("runs/x/eval-rows")
    assert folder_for("runs/x/checkpoint-5", "nano-orders#3") == Path("runs/x/eval-nano-orders-3")
    assert folder_for("nano", "nano-orders#3") == Path("eval-nano-orders-3")
