"""Rows to answers: many at once at the engine, in the rows' order behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

from swift.core.errors import MachineError, Problem, UserError
from swift.dataset.sources import Raw
from swift.engine import Delta, Engine, Request, Sampling
from swift.run.asked import Asked, read

GREEDY = Sampling(temperature=0.0)
"""How answers are made that are to be judged."""

AHEAD = 256
"""Rows at the engine at once, where nobody says; four times the torch engine's slots."""


_TICK = 0.2
"""Seconds between two looks at whether an answer is there."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A row and its answer."""

    index: int
    """Number of the row, from 0."""

    asked: Asked
    answer: Delta | None = None
    """None where the row asks nothing, or the model cannot be asked it."""

    prompt_tokens: int = 0
    error: str = ""
    """Why there is no answer."""

    def line(self) -> dict[str, Any]:
        """Return the line of the output file."""
        labels = {} if self.asked.labels is None else {"labels": self.asked.labels}
        if self.answer is None:
            line = {"index": self.index, "error": self.error, "origin": self.asked.origin}
            return {**line, **labels}
        made = len(self.answer.ids)
        line = {"index": self.index, **self.asked.shown(), "response": self.answer.text, **labels}
        line["finish_reason"] = self.answer.finish
        line["usage"] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": made,
            "total_tokens": self.prompt_tokens + made,
        }
        return line


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    row: Answered
    future: Future[Delta]
    cancel: Callable[[], None]


def answers(
    engine: Engine,
    raws: Iterable[Raw],
    sampling: Sampling,
    *,
    begin: int = 0,
    ahead: int = AHEAD,
    options: Mapping[str, Any] | None = None,
    told: Callable[[int], None] = lambda tokens: None,
) -> Generator[Answered, None, None]:
    """Yield the answer of each row, in the rows' order.

    Args:
        engine: Who answers.
        raws: The rows, the first of them number `begin`. They are read as they are needed.
        sampling: How; a `seed` is counted up row by row, so that equal rows may differ.
        begin: Number of the first row.
        ahead: Most rows at the engine at once.
        options: What the chat template may read besides, such as enable_thinking.
        told: Gets the tokens of each answer when it is there, which is not in order.

    Raises:
        MachineError: The engine failed at a row.
    """
    waiting: deque[_Waiting] = deque()
    made: SimpleQueue[int] = SimpleQueue()
    try:
        for index, raw in enumerate(raws, begin):
            waiting.append(_submit(engine, index, read(raw), sampling, made, options or {}))
            if len(waiting) >= ahead:
                yield _spoken(engine, _wait(waiting, made, told))
        while waiting:
            yield _spoken(engine, _wait(waiting, made, told))
    finally:
        for each in waiting:
            each.cancel()


def _spoken(engine: Engine, row: Answered) -> Answered:
    """Leave of an answer what is meant for people."""
    if row.answer is None:
        return row
    text = engine.speaker.aloud()(row.answer.text, True)
    return replace(row, answer=replace(row.answer, text=text))


def _submit(
    engine: Engine,
    index: int,
    asked: Asked,
    sampling: Sampling,
    made: SimpleQueue[int],
    options: Mapping[str, Any],
) -> _Waiting:
    future: Future[Delta] = Future()
    future.add_done_callback(lambda done: made.put(len(done.result().ids)))
    row = Answered(index=index, asked=asked, error=asked.trouble)
    if not asked.trouble:
        try:
            ids = asked.ids(engine.speaker, **options)
            request = Request(ids=ids, sampling=_seeded(sampling, index))
            cancel = engine.submit(request, future.set_result)
        except UserError as error:
            row = Answered(index=index, asked=asked, error=error.problems[0].what)
        else:
            row = Answered(index=index, asked=asked, prompt_tokens=len(ids))
            return _Waiting(row=row, future=future, cancel=cancel)
    future.set_result(Delta(finish="refused"))
    return _Waiting(row=row, future=future, cancel=lambda: None)


def _seeded(sampling: Sampling, index: int) -> Sampling:
    if sampling.seed is None:
        return sampling
    return sampling.model_copy(update={"seed": sampling.seed + index})


def _wait(
    waiting: deque[_Waiting], made: SimpleQueue[int], told: Callable[[int], None]
) -> Answered:
    """Return the oldest row's answer; meanwhile tell of those that are there before it."""
    row, future = waiting[0].row, waiting[0].future
    while not future.done() or not made.empty():
        with suppress(Empty):
            told(made.get(timeout=_TICK))
    answer = future.result()
    waiting.popleft()  # only now: until it is there, it must be cancelled with the others
    if row.error:
        return row
    if answer.finish in ("error", "cancelled"):
        what = f"the engine failed at row {row.index}: {answer.error or answer.finish}"
        fix = "what is written stays; started again, it goes on there"
        raise MachineError(Problem(where=row.asked.origin, what=what, fix=fix))
    return Answered(
        index=row.index, asked=row.asked, answer=answer, prompt_tokens=row.prompt_tokens
    )
