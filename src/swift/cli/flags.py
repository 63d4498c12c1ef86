"""Words of a command line: files, flags with their values, and `key=value`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core import yaml
from swift.core.errors import Problem, RecipeError

_ASSIGNED = re.compile(r"[A-Za-z_][\w.-]*=")


SWITCH = "trust_remote_code"
"""The key that is also a flag without a value: a word after it other than true or false is not
its own."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A command line, taken apart."""

    files: tuple[str, ...] = ()
    """Words that belong to no flag."""

    flags: tuple[tuple[str, Any], ...] = ()
    """(name without dashes, value) in order. A single word stays text; True for none at all."""

    def pick(self, *names: str) -> tuple[Any, Line]:
        """Return the last value of the flags called `names` (None without), and the other words."""
        found = [value for name, value in self.flags if _plain(name) in names]
        rest = tuple(flag for flag in self.flags if _plain(flag[0]) not in names)
        return (found[-1] if found else None), Line(files=self.files, flags=rest)


def split(words: Sequence[str], *, alone: frozenset[str], many: Callable[[str], bool]) -> Line:
    """Take a command line apart.

    Args:
        words: What stands after the verb.
        alone: Flags that take no value, as `_plain` writes them.
        many: Whether a flag takes all words up to the next flag; any other takes one.

    Raises:
        RecipeError: A word begins with one dash and is no value.
    """
    files: list[str] = []
    flags: list[tuple[str, Any]] = []
    problems: list[Problem] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "-h":
            word = "--help"
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if equals:
                flags.append((name, value))
            else:
                most = 0 if _plain(name) in alone else len(rest) if many(name) else 1
                if _plain(name).rpartition(".")[2] == SWITCH and rest[:1] != ["false"]:
                    most = int(rest[:1] == ["true"])
                flags.append((name, _value(_take(rest, most))))
        elif word.startswith("-") and len(word) > 1:
            problems.append(Problem(what=f"there is no flag `{word}`", fix="flags have two dashes"))
        elif _ASSIGNED.match(word) and not Path(word).exists():
            name, _, value = word.partition("=")
            flags.append((name, value))
        else:
            files.append(word)
    if problems:
        raise RecipeError(problems)
    return Line(files=tuple(files), flags=tuple(flags))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _take(rest: list[str], most: int) -> list[str]:
    """Take up to `most` words off `rest`, none that begins a flag."""
    taken: list[str] = []
    while rest and len(taken) < most and not rest[0].startswith("--") and rest[0] != "-h":
        taken.append(rest.pop(0))
    return taken


def _value(taken: list[str]) -> Any:
    if not taken:
        return True
    return taken[0] if len(taken) == 1 else [yaml.flag(word) for word in taken]
