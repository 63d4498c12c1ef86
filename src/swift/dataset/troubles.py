"""Every trouble that rows may have: its name, what it means, its repair, what may be done."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swift.core.table import Table

_TABLE = Path(__file__).with_name("troubles.csv")

POLICIES = ("keep", "drop", "truncate", "split", "fail")
"""What may become of a row in trouble."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A kind of trouble: a row of troubles.csv, or a plug-in's."""

    name: str
    """What it is counted under: "broken-line"."""

    means: str
    """The fact, for people: "the line is no JSON object"."""

    repair: str = ""
    """What mends it, ready to be typed."""

    policies: tuple[str, ...] = ("drop", "fail")
    """What may become of such a row; without "fail", nobody can call it an error."""

    default: str = "drop"
    """What becomes of it unless the recipe says."""


def _rows() -> Iterator[Trouble]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            policies = tuple(row.pop("policies").split())
            yield Trouble(policies=policies, **row)


troubles: Table[Trouble] = Table("trouble", _rows, lambda trouble: trouble.name)
"""All of them. A plug-in whose format or reader rejects rows adds its own names."""


def trouble_of(name: str) -> Trouble:
    """Return what is known of the trouble `name`; one that nobody described is a dropped row."""
    return troubles.get(name) or Trouble(name=name, means="as its name says")
