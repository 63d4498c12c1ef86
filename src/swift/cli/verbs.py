"""Verbs that plug-ins bring: `swift NAME …`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from swift.core.table import Table

Act: TypeAlias = Callable[[str, list[str]], int]
"""Gets the verb and the words after it, and returns the exit code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """A command."""

    name: str
    about: str
    """What it does, in a line."""

    act: Act


verbs: Table[Verb] = Table("verb", tuple, lambda verb: verb.name)
"""All that plug-ins brought."""


def verb(name: str, about: str) -> Callable[[Act], Act]:
    """Register the decorated function as `swift NAME`."""

    def register(act: Act) -> Act:
        verbs.add(Verb(name=name, about=about, act=act))
        return act

    return register
