"""What happened to the rows, counted by name: nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_SHOWN = 5
"""Origins kept of each kind of trouble."""


@dataclass
class Report:
    """What happened to the rows: counts by name, with the first origins of each."""

    rows: int = 0
    samples: int = 0
    tokens: int = 0
    supervised: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """Name of a trouble ("broken-line", "truncated", ...) -> rows it happened to."""

    origins: dict[str, list[str]] = field(default_factory=dict)

    readings: list[str] = field(default_factory=list)
    """How rows were read, a line for each set of columns: "mine.jsonl:1: read as alpaca (...)"."""

    def note(self, name: str, origin: str) -> None:
        """Count one row."""
        self.counts[name] = self.counts.get(name, 0) + 1
        shown = self.origins.setdefault(name, [])
        if len(shown) < _SHOWN:
            shown.append(origin)

    def read_as(self, line: str) -> None:
        """Take in how rows of some columns are read, unless that has been said often enough."""
        if len(self.readings) < _SHOWN:
            self.readings.append(line)

    def describe(self) -> str:
        """Return one line for people."""
        share = self.supervised / self.tokens if self.tokens else 0.0
        text = f"{self.samples:,} samples of {self.rows:,} rows, {self.tokens:,} tokens"
        text += f", {share:.0%} supervised"
        for name, count in sorted(self.counts.items()):
            text += f"; {name}: {count} ({', '.join(self.origins[name])}{', …' * (count > _SHOWN)})"
        return "; ".join([text, *self.readings])

    def as_dict(self) -> dict[str, Any]:
        """Return the report for an event."""
        return dict(vars(self))
