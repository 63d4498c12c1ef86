"""A row as it was found, before any format understands it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A row as it was found."""

    row: dict[str, Any] | None
    """None where there is none to be had."""

    origin: str
    """"mine.jsonl:17"."""

    trouble: str = ""
    """Why there is no row: "broken-line", "ragged-row", "not-utf-8", "line-too-long", ..."""


def checked(row: Any, origin: str) -> Raw:
    """Return the Raw of what a line held: a row is a map, anything else is a broken line."""
    good = isinstance(row, dict)
    return Raw(row=row if good else None, origin=origin, trouble="" if good else "broken-line")
