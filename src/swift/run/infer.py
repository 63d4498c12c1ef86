"""Answers to all rows of a data set, in a file of JSON lines that a kill does not spoil."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from swift.core.errors import DataError, PlanError, Problem
from swift.dataset.sources import Raw, Source, find, rows
from swift.engine import Engine, Sampling, Served
from swift.run.answering import AHEAD, GREEDY, Answered, answers
from swift.run.lines import opened


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What is asked of whom, and where the answers go."""

    served: Served
    rows: str
    """Name or file of a data set; NAME#n for n rows of it."""

    split: str = ""
    """Part of a generated data set; "" for its `train`."""

    output: Path
    sampling: Sampling = GREEDY
    ahead: int = AHEAD
    """Most rows at the engine at once."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template may read besides, such as enable_thinking."""

    overwrite: bool = False
    """Whether the output begins anew, whatever is there."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What an inference did."""

    rows: int
    before: int = 0
    """Rows whose answers were there already."""

    errors: int = 0
    """Rows of now that have no answer."""

    tokens: int = 0
    """New tokens of now."""

    cpu_s: float = 0.0
    """CPU seconds of this process for them, without opening the model."""


class Show(Protocol):
    """Sees the work as it goes."""

    def begin(self, done: int, total: int) -> None:
        """So many rows of `total` were answered before."""

    def row(self, tokens: int) -> None:
        """One more row is answered, with so many tokens; not in order."""

    def end(self) -> None:
        """It is over, well or not."""


def infer(work: Inference, open_engine: Callable[[], Engine], show: Show) -> Done:
    """Answer all rows and return what was done; started again, it goes on where it was.

    The engine is opened when the data and the output are known to be sound, and not at all where
    every row has its answer.

    Raises:
        DataError: There are no such rows.
        PlanError: The output holds something else.
        MachineError: The output cannot be written, or the engine failed; whole lines stay.
    """
    source = find(work.rows)
    if any(work.output.exists() and work.output.samefile(file) for file in source.files):
        what = f"{work.output} is the input itself"
        raise PlanError(Problem(where="--output", what=what, fix="write to another file"))
    total, digest = _measure(source, work.split)
    with opened(work.output, _made_by(work, digest), overwrite=work.overwrite) as lines:
        show.begin(lines.done, total)
        try:
            if lines.done >= total:
                return Done(rows=total, before=lines.done)
            engine = open_engine()
            try:
                raws = islice(_rows(source, work.split), lines.done, None)
                made = answers(
                    engine,
                    raws,
                    work.sampling,
                    begin=lines.done,
                    ahead=work.ahead,
                    options=work.options,
                    told=show.row,
                )
                with closing(made):
                    return _write(made, lines.add, Done(rows=total, before=lines.done))
            finally:
                engine.close()
        finally:
            show.end()


def _write(made: Iterable[Answered], add: Callable[[dict[str, Any]], None], done: Done) -> Done:
    errors = tokens = 0
    begin = time.process_time()
    for each in made:
        add(each.line())
        new = len(each.answer.ids) if each.answer else 0
        errors += each.answer is None
        tokens += new
    return Done(
        rows=done.rows,
        before=done.before,
        errors=errors,
        tokens=tokens,
        cpu_s=time.process_time() - begin,
    )


def _rows(source: Source, split: str) -> Iterator[Raw]:
    """Yield the rows of a part of a source.

    Raises:
        DataError: It has no such part.
    """
    if split and not source.generator:
        what = f"`{source.name}` has no parts: it is read whole"
        raise DataError(Problem(where="--split", what=what, fix="leave --split out"))
    try:
        yield from rows(source, split=split or "train")
    except KeyError as error:
        what = f"`{source.name}` has no part `{split}`"
        raise DataError(
            Problem(where="--split", what=what, fix="--split train, or --split validation")
        ) from error


def _measure(source: Source, split: str) -> tuple[int, str]:
    """Return the number of rows and a digest of what they say."""
    count, digest = 0, hashlib.sha256()
    for raw in _rows(source, split):
        count += 1
        digest.update(json.dumps([raw.row, raw.trouble], default=str).encode())
    if not count:
        raise DataError(Problem(where=source.name, what="it has no rows", fix="give one that has"))
    return count, digest.hexdigest()[:32]


def _made_by(work: Inference, digest: str) -> dict[str, Any]:
    """Return what the answers depend on."""
    served = work.served
    return {
        "model": [served.id, str(served.folder)],
        "adapter": str(served.adapter) if served.adapter else None,
        **({"template": served.template} if served.template != "auto" else {}),
        **({"options": dict(work.options)} if work.options else {}),
        "sampling": work.sampling.model_dump(mode="json"),
        "input": digest,
    }
