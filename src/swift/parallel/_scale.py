"""The loss scale that keeps float16 gradients above its smallest number."""

from __future__ import annotations

import math

import torch

_START, _GROWTH_STEPS = 2.0**16, 2000


class LossScale:
    """Halved after a step whose gradient overflowed, doubled after 2000 that did not.

    Off (1 for ever) unless float16 is computed in. The norm that decides is summed over all
    shards, so that every rank decides alike.
    """

    def __init__(self, on: bool) -> None:
        self.on = on
        self.value = _START if on else 1.0
        self._good = 0
        self.tensor = torch.tensor([self.value, 0.0], dtype=torch.float64)

    def update(self, norm: float) -> bool:
        """Learn from a step's norm; return whether the step may be taken."""
        finite = math.isfinite(norm)
        if self.on:
            self._good = self._good + 1 if finite else 0
            if not finite:
                self.value /= 2
            elif self._good % _GROWTH_STEPS == 0:
                self.value *= 2
            self.tensor.copy_(torch.tensor([self.value, self._good]))
        return finite

    def loaded(self) -> None:
        """Take over what was read into `tensor`."""
        if self.on:
            value, good = self.tensor.tolist()
            self.value, self._good = value, int(good)
