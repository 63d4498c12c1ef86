"""How often a model is right on a data set, with the interval that so many rows allow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swift import __version__
from swift.checkpoint import newest
from swift.core.errors import DataError, Problem
from swift.core.files import write_text
from swift.dataset.sources import Raw
from swift.engine import Engine, Sampling
from swift.run.answering import GREEDY, answers
from swift.run.infer import Done, Inference, Show, infer
from swift.run.lines import read_lines
from swift.score import Score
from swift.score.exact_match import ExactMatch

_Z95 = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What answers were worth."""

    rows: int = 0
    """Rows that hold an answer to compare with: those that are scored."""

    right: float = 0.0
    """Sum of their scores: how many were right."""

    unanswered: int = 0
    """Rows without an answer of their own; they are left out."""

    failed: int = 0
    """Rows that were not asked: broken, or too long. Where a row holds an answer, it is wrong."""

    tokens: int = 0
    """New tokens of all answers."""

    cut: int = 0
    """Answers that came to no end of their own: max_tokens or the context was full."""

    @property
    def share(self) -> float:
        """Share of right answers, in [0, 1]; not a number without rows."""
        return self.right / self.rows if self.rows else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.right, self.rows)


def wilson(right: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `right` in `rows` (Wilson, 1927); (0, 1) for no rows.

    (p + z²/2n ± z sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n)
    """
    if not rows:
        return 0.0, 1.0
    share, zz = right / rows, _Z95**2 / rows
    half = _Z95 * math.sqrt(share * (1 - share) / rows + zz / (4 * rows))
    low, high = (share + zz / 2 - half) / (1 + zz), (share + zz / 2 + half) / (1 + zz)
    return low if right > 0 else 0.0, high if right < rows else 1.0  # exact, but for rounding


def evaluate(
    engine: Engine,
    rows: Iterable[Mapping[str, Any]],
    score: Score | None = None,
    *,
    sampling: Sampling = GREEDY,
) -> Tally:
    """Return how right `engine` is on rows of any format, without a file.

    Args:
        engine: Who answers.
        rows: Rows with their answers.
        score: What is right; None for an exact match of the text.
        sampling: How is answered.

    Raises:
        DataError: A row's own answer is none that the score understands.
        MachineError: The engine failed.
    """
    raws = (Raw(row=dict(row), origin=f"row {n}") for n, row in enumerate(rows))
    with closing(answers(engine, raws, sampling)) as made:
        return tally((each.line() for each in made), score or ExactMatch())


def tally(lines: Iterable[Mapping[str, Any]], score: Score) -> Tally:
    """Return what the lines of an inference are worth.

    Raises:
        DataError: A row's own answer is none that the score understands; says which.
    """
    found = Tally()
    for line in lines:
        found = _count(found, line, score)
    return found


def _count(found: Tally, line: Mapping[str, Any], score: Score) -> Tally:
    if "error" in line:
        return replace(found, failed=found.failed + 1, rows=found.rows + ("labels" in line))
    found = replace(
        found,
        tokens=found.tokens + line["usage"]["completion_tokens"],
        cut=found.cut + (line["finish_reason"] == "length"),
    )
    if "labels" not in line:
        return replace(found, unanswered=found.unanswered + 1)
    try:
        worth = score.judge(line["response"], line["labels"])
    except DataError as error:
        where = f"row {line['index']}"
        raise DataError([replace(p, where=where) for p in error.problems]) from error
    return replace(found, rows=found.rows + 1, right=found.right + worth)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an evaluation found."""

    tally: Tally
    done: Done
    folder: Path
    """Holds eval.jsonl and eval.json."""

    @property
    def tokens_per_cpu_s(self) -> float:
        """New tokens of now in a CPU second of this process; 0 where all was there before."""
        return self.done.tokens / self.done.cpu_s if self.done.cpu_s else 0.0


def evaluate_rows(
    work: Inference, score: Score, open_engine: Callable[[], Engine], show: Show
) -> Result:
    """Answer and score a data set, in a folder that a kill does not spoil.

    Args:
        work: What is asked; its output is `eval.jsonl` in the folder.
        score: What is right.
        open_engine: Opens the model, when everything else is known to be sound.
        show: Sees the work.

    Raises:
        DataError: There are no such rows, or none holds an answer that can be compared.
        PlanError: The folder holds another evaluation.
        MachineError: It cannot be written, or the engine failed.
    """
    done = infer(work, open_engine, show)
    found = tally(read_lines(work.output), score)
    if not found.rows:
        what = f"none of the {done.rows} rows of `{work.rows}` holds an answer to compare with"
        fix = "name its column `response`, or end each conversation with the assistant's turn"
        raise DataError(Problem(where="--dataset", what=what, fix=fix))
    result = Result(tally=found, done=done, folder=work.output.parent)
    text = json.dumps(_card(work, score, result), ensure_ascii=False, indent=1)
    write_text(result.folder / "eval.json", text + "\n")
    return result


def _card(work: Inference, score: Score, result: Result) -> dict[str, Any]:
    found = result.tally
    return {
        "swift": __version__,
        "model": work.served.id,
        "adapter": str(work.served.adapter) if work.served.adapter else None,
        "dataset": work.rows,
        "split": work.split or None,
        "score": score.model_dump(mode="json"),
        "sampling": work.sampling.model_dump(mode="json"),
        "rows": found.rows,
        "right": found.right,
        "share": found.share,
        "interval_95": list(found.interval),
        "rows_without_answer": found.unanswered,
        "rows_failed": found.failed,
        "tokens": found.tokens,
        "answers_cut": found.cut,
        "measured": {"tokens": result.done.tokens, "cpu_s": round(result.done.cpu_s, 3)},
    }


def folder_for(id: str, dataset: str) -> Path:
    """Return where an evaluation of `id` goes by default: beside the run, else ./eval-NAME."""
    path = Path(id).expanduser()
    if newest(path.parent) is not None and path.name.startswith("checkpoint-"):
        path = path.parent
    stem = Path(dataset).name.removesuffix(".jsonl")
    name = "eval-" + re.sub(r"[^\w.-]+", "-", stem).strip("-")
    return path / name if newest(path) is not None else Path(name)
