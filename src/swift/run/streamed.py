"""Rows that are never all there: read, encoded and trained on a window at a time.

A window is a number of Samples in the order of the files. Its samples are shuffled, packed and
sorted by length among themselves, so memory holds one window whatever the size of the data. Where
a run stands is (passes, samples read): a checkpoint holds it, and going on reads up to there
again without encoding. So every sample is trained on once a pass, killed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from swift.checkpoint import Card
from swift.core.errors import DataError, Problem
from swift.core.schema import Value
from swift.run.feed import Laid, RunFeed, held_out, lay_of
from swift.seam.types import Batch

if TYPE_CHECKING:
    from swift.chat.message import Sample
    from swift.dataset.encoded import Encoded
    from swift.dataset.report import Report
    from swift.parallel import Piece, Placement
    from swift.plan import Plan
    from swift.run.data import Prepared

WINDOW = 64
"""Steps of a window: long enough for a fair shuffle, as the buckets of `Schedule`."""


class Position(Value):
    """Where a stream stands: at the beginning of a window, and steps into it."""

    passes: int = 0
    """Passes over the data that are done."""

    read: int = 0
    """Samples of this pass that were read before the window."""

    window: int = 0
    """Its number, from the beginning of the run."""

    steps: int = 0
    """Steps taken in it."""


class Stream:
    """A pass after a pass over the samples, in windows of encoded rows."""

    def __init__(
        self,
        samples: Callable[[], Iterator[Sample]],
        encode: Callable[[list[Sample]], Encoded],
        size: int,
        report: Report,
    ) -> None:
        """Read windows of `size` samples.

        Args:
            samples: Begins a pass.
            encode: Makes tokens of samples; may drop some.
            size: Samples that are read at a time.
            report: Knows what became of the first pass.
        """
        self._begin, self._encode, self._size, self._report = samples, encode, size, report
        self._source: Iterator[Sample] | None = None
        self.at = Position()

    def go_to(self, position: Position) -> None:
        """Stand at the beginning of the window that `position` is in."""
        self._source = self._begin()
        for _ in islice(self._source, position.read):
            pass
        self.at = position

    def window(self) -> tuple[Encoded, int]:
        """Return the rows of the next window that has any, and how many samples were read for it.

        Raises:
            DataError: A whole pass has given none; what its rows died of.
        """
        passes = self.at.passes
        while self.at.passes <= passes + 1:
            if self._source is None:
                self._source = self._begin()
            drawn = list(islice(self._source, self._size))
            if drawn:
                found = self._encode(drawn)
                if len(found):
                    return found, len(drawn)
                self._skip(read=self.at.read + len(drawn))
            else:
                self._source = None
                self._skip(passes=self.at.passes + 1, read=0)
        what = "a whole pass over the data gave no sample to train on: " + self._report.describe()
        raise DataError(Problem(where="dataset", what=what, fix=self._report.advice()))

    def _skip(self, **change: int) -> None:
        self.at = self.at.model_copy(update=change)


def feed_of(
    plan: Plan, prepared: Prepared, placement: Placement, *, end_to_end: bool
) -> RunFeed | StreamFeed:
    """Return what a plan's rows are fed by: whole, or streamed."""
    if prepared.stream is None:
        return RunFeed(plan, prepared, placement, end_to_end=end_to_end)
    return StreamFeed(plan, prepared, placement, prepared.stream, end_to_end=end_to_end)


class StreamFeed:
    """The Feed of a plan whose rows are streamed."""

    def __init__(
        self,
        plan: Plan,
        prepared: Prepared,
        placement: Placement,
        stream: Stream,
        *,
        end_to_end: bool = False,
    ) -> None:
        assert plan.recipe.train.max_steps is not None, "a rule of recipes"
        self.total = plan.recipe.train.max_steps
        self._plan, self._placement, self._stream = plan, placement, stream
        self._lay = lay_of(plan, prepared.pad_id, end_to_end=end_to_end)
        self._validation = held_out(plan, prepared.validation, self._lay, placement)
        self._laid: Laid | None = None
        self._drawn = 0
        self._first = 0
        """The step that the window begins with."""

    def step(self, number: int) -> list[Batch]:
        """Return this rank's micro-batches of a step; steps are asked for in turn."""
        laid = self._laid or self._open(number - self._stream.at.steps)
        if number - self._first == laid.schedule.steps_per_epoch:
            self._stream.at = self._after()
            laid = self._open(number)
        return laid.step(number - self._first)

    def size(self, number: int) -> tuple[int, int]:
        """Return (samples, tokens) of a step, over all ranks."""
        assert self._laid is not None
        return self._laid.size(number - self._first)

    def epoch(self, number: int) -> float:
        """Return the whole passes over the data that are done."""
        return float(self._stream.at.passes)

    def validation(self) -> list[list[Batch]]:
        """Return this rank's validation batches, longest first."""
        return self._validation

    def position(self, done: int) -> dict[str, int]:
        """Return where the stream stands after `done` steps."""
        return {**self._stream.at.model_dump(), "steps": done - self._first}

    def told(self, number: int) -> Mapping[str, float]:
        """Return what else there is to be told of a step: nothing."""
        return {}

    def pieces(self, done: int) -> Sequence[Piece]:
        """Return tensors that a checkpoint must hold after `done` steps: none."""
        return ()

    def go_on(self, card: Card, checkpoint: Path) -> None:
        """Continue from where a checkpoint's stream stood."""
        self._stream.go_to(Position.model_validate(card.stream or {}))

    def _open(self, first: int) -> Laid:
        """Read the window that begins with step `first`."""
        rows, self._drawn = self._stream.window()
        self._first = first
        self._laid = Laid(
            self._plan,
            rows,
            self._lay,
            self._placement,
            epochs=1,
            window=self._stream.at.window + 1,
        )
        return self._laid

    def _after(self) -> Position:
        """Return the beginning of the next window."""
        at = self._stream.at
        return Position(passes=at.passes, read=at.read + self._drawn, window=at.window + 1)
