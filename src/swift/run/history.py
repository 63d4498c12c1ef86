"""The steps of a run that count, in order: what events.jsonl tells once resumed parts are joined.

A killed run is gone on with from a checkpoint, so that the file holds some steps twice. Those after
the checkpoint were undone; here only the later ones stand. Any field may be missing or be of
another kind, as in the files of older versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.events import read_events

OF_EVERY_STEP = frozenset(
    "event time step loss grad_norm learning_rate epoch samples tokens seconds cpu_s process_cpu_s"
    " memory_mb skipped loss_scale".split()
)
"""Fields that a step or eval event has whatever the method; all other numbers are its metrics."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What became of a run."""

    steps: Sequence[Mapping[str, Any]] = ()
    """Step events by rising number; each number once."""

    evals: Sequence[Mapping[str, Any]] = ()
    """Eval events, the same way."""

    warnings: Sequence[str] = ()
    """Each once, in the order in which they came."""

    total_steps: int = 0
    """0 where the run has not said."""

    resumed: int = 0
    """How often it was gone on with."""

    last: Mapping[str, Any] | None = None
    """The last event of any kind."""

    def metrics(self) -> list[str]:
        """Return the names of the method's own metrics, in the order in which they came."""
        named = dict.fromkeys(name for event in (*self.steps, *self.evals) for name in event)
        fields = [name for name in named if name not in OF_EVERY_STEP]
        return [n for n in fields if series(self.steps, n) or series(self.evals, n)]


def number(value: object) -> float | None:
    """Return a finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def series(events: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return (step, value) of the events that hold a finite number under `name`."""
    found = ((event["step"], number(event.get(name))) for event in events)
    return [(step, value) for step, value in found if value is not None]


def headline(events: Sequence[Mapping[str, Any]]) -> str:
    """Return what tells how a run goes: the reward where answers are judged, else the loss."""
    return "reward" if any("reward" in event for event in events) else "loss"


def read_history(path: Path) -> History:
    """Return what an events.jsonl tells; an empty History where there is none."""
    kept: dict[str, dict[int, Mapping[str, Any]]] = {"step": {}, "eval": {}}
    warnings: dict[str, None] = {}
    last: Mapping[str, Any] | None = None
    total = resumed = 0
    for event in read_events(path):
        last, kind = event, event["event"]
        if kind in ("start", "resume"):
            after = whole(event.get("step"))
            kept = {k: {s: e for s, e in of.items() if s <= after} for k, of in kept.items()}
            total = whole(event.get("total_steps")) or total
            resumed += kind == "resume"
        elif kind == "warning":
            warnings[str(event.get("text", ""))] = None
        elif kind in ("step", "eval") and whole(event.get("step")):
            kept[kind][event["step"]] = event
    steps, evals = ([of[step] for step in sorted(of)] for of in kept.values())
    return History(
        steps=steps,
        evals=evals,
        warnings=tuple(warnings),
        total_steps=total,
        resumed=resumed,
        last=last,
    )


def whole(value: object) -> int:
    """Return a whole number above 0; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
