"""Which samples meet in which step, micro-batch and rank: a pure function of the step's number."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW = 64
"""Steps whose samples are sorted by length together when buckets are on: long enough for little
padding, short enough that a window stays a fair draw of the data."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Every sample once an epoch; the same order on every machine, whatever the world.

    A step's samples depend on (seed, epoch, step) alone. How they are cut into ranks and
    micro-batches depends on the world too, and changes no result.
    """

    lengths: NDArray[np.int64]
    """Tokens of each sample."""

    batch_size: int
    """Samples of one step, over all ranks; the last step of an epoch may have fewer."""

    micro_batch_size: int
    data_world: int = 1
    seed: int = 0
    shuffle: bool = True
    bucket: bool = True
    epochs: float = 1.0
    max_steps: int | None = None

    _orders: dict[int, list[NDArray[np.int64]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass, a ragged last one counted."""
        return math.ceil(len(self.lengths) / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run: `max_steps`, or what the epochs take."""
        if self.max_steps is not None:
            return self.max_steps
        return max(1, math.ceil(self.epochs * self.steps_per_epoch - 1e-9))

    def samples(self, step: int) -> NDArray[np.int64]:
        """Return the samples of a step, in their order."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = self._order(epoch)
        return self._orders[epoch][place]

    def epoch(self, step: int) -> float:
        """Return the passes over the data done after a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        done = min((place + 1) * self.batch_size, len(self.lengths))
        return epoch + done / len(self.lengths)

    def step(self, step: int) -> list[list[list[int]]]:
        """Return [rank][micro-batch] -> samples; all ranks have equally many micro-batches.

        With buckets on, samples of a micro-batch have like lengths and ranks like amounts of
        tokens; else both are cut in the order of the samples. What is left for the last round is
        dealt out evenly, so that no rank waits for another; only with fewer samples than ranks
        are some micro-batches empty.
        """
        import numpy as np

        samples = self.samples(step)
        if self.bucket:
            samples = samples[np.argsort(-self.lengths[samples], kind="stable")]
        ranks: list[list[list[int]]] = [[] for _ in range(self.data_world)]
        at_once = self.micro_batch_size * self.data_world
        for begin in range(0, len(samples), at_once):
            # With buckets, neighbours in length run at once.
            cut = np.array_split(samples[begin : begin + at_once], self.data_world)
            for rank, items in zip(ranks, cut, strict=True):
                rank.append(items.tolist())
        return ranks

    def _order(self, epoch: int) -> list[NDArray[np.int64]]:
        import numpy as np

        draw = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        order = np.arange(len(self.lengths))
        if self.shuffle:
            order = draw.permutation(order)
        size = self.batch_size
        if not self.bucket:
            return [order[i : i + size] for i in range(0, len(order), size)]
        steps: list[NDArray[np.int64]] = []
        for begin in range(0, len(order), size * WINDOW):
            window = order[begin : begin + size * WINDOW]
            window = window[np.argsort(self.lengths[window], kind="stable")]
            steps += [window[i : i + size] for i in range(0, len(window), size)]
        if self.shuffle:
            # The ragged step stays last, so that every other step is whole.
            whole = draw.permutation(len(order) // size)
            steps = [s for s in steps if len(s) == size] + [s for s in steps if len(s) < size]
            steps = [steps[i] for i in whole] + steps[len(whole) :]
        return steps
