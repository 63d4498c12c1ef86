"""Questions with answers to other questions: what KTO's baseline is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from swift.chat.message import Message, Sample
from swift.core.errors import DataError, Problem

Turns = tuple[Message, ...]


def with_others(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield each sample with, as its `rejected`, its question and an answer to another one.

    That is the last answer before it to another question; what comes before the second question
    gets that one's first answer. So the order of the rows alone decides.

    Args:
        samples: Conversations that end with an answer.

    Raises:
        DataError: All ask the same.
    """
    waiting: list[Sample] = []
    last: tuple[Turns, Turns] | None = None
    before: Turns = ()
    """The last answer to another question than the last one's."""
    for sample in samples:
        asked, answer = _apart(sample)
        if last is None or (asked == last[0] and not before):
            waiting.append(sample)
            last = (asked, answer)
            continue
        if waiting:
            yield from (_with(held, answer) for held in waiting)
            waiting.clear()
        if asked != last[0]:
            before = last[1]
        last = (asked, answer)
        yield _with(sample, before)
    if waiting:
        what = f"all {len(waiting):,} rows ask the same, and the baseline wants other answers"
        fix = "rows with several questions, or method: {name: kto, loss: apo_zero}"
        raise DataError(Problem(where="dataset", what=what, fix=fix))


def _with(sample: Sample, answer: Turns) -> Sample:
    return replace(sample, rejected=(*_apart(sample)[0], *answer))


def _apart(sample: Sample) -> tuple[Turns, Turns]:
    """Return (what is asked, the answer): all turns after the user spoke last."""
    turns = sample.chosen
    begin = max((n for n, turn in enumerate(turns, 1) if turn.role == "user"), default=0)
    return turns[:begin], turns[begin:]
