"""The learning rate over the run, as a share of its peak."""

from __future__ import annotations

import math


def rate(step: int, total: int, *, warmup: float, kind: str) -> float:
    """Return the share of the peak learning rate that step `step` (from 0) takes, in (0, 1].

    Args:
        step: Steps done before.
        total: Steps of the whole run.
        warmup: Below 1 a share of `total`, else a number of steps. The rise is linear and starts
            at 1 / warm-up steps: no step is spent at zero.
        kind: constant, linear (to 0), cosine (half a wave, to 0).
    """
    rise = math.ceil(warmup * total) if warmup < 1 else int(warmup)
    if step < rise:
        return (step + 1) / rise
    if kind == "constant":
        return 1.0
    left = (total - step) / max(1, total - rise)
    return left if kind == "linear" else (1 - math.cos(math.pi * left)) / 2
