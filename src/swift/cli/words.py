"""What the guide and the demo say, in the user's language: the rows of words.csv."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from swift.core import env


def word(key: str, **values: Any) -> str:
    """Return the text called `key` with its values put in.

    Raises:
        KeyError: There is no such text, or it wants a value that was not given.
    """
    return _texts(env.language())[key].format_map(values)


@cache
def _texts(language: str) -> Mapping[str, str]:
    with Path(__file__).with_name("words.csv").open(encoding="utf-8", newline="") as file:
        return {row["key"]: row[language] for row in csv.DictReader(file)}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns; a Chinese character is two cells wide."""
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [cell + " " * (w - _cells(cell)) for cell, w in zip(row, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
