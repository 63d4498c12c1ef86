"""Rows by name: those of a CSV file, read when first asked for, and those that plug-ins add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")


class Table(Generic[R]):
    """Rows of one kind, each under a name of its own, in the order in which they were added."""

    def __init__(
        self, kind: str, read: Callable[[], Iterable[R]], name: Callable[[R], str]
    ) -> None:
        """Fill itself by `read` at the first look-up; `name` is what a row is found by."""
        self.kind = kind
        self._name = name
        self._reader = read
        self._rows: dict[str, R] = {}
        self._read = False
        self._foreign: list[str] = []

    def add(self, row: R, *, own: bool = False) -> R:
        """Add a row; `own` for one of our own modules, which may be imported by a plug-in first.

        Raises:
            ValueError: Another row has its name.
        """
        name = self._name(row)
        if name in self._own():
            raise ValueError(f"{self.kind} `{name}` is there already")
        self._rows[name] = row
        if not own:
            self._foreign.append(name)
        added(self.kind, name, lambda: self._rows.pop(name), own=own)
        return row

    def get(self, name: str) -> R | None:
        """Return the row called `name`, if there is one."""
        found = self._own().get(name)
        if found is None:
            self._and_installed()
            found = self._rows.get(name)
        return found

    def __getitem__(self, name: str) -> R:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def rows(self) -> tuple[R, ...]:
        """Return all rows."""
        return tuple(self._and_installed().values())

    def by_weight(self) -> tuple[R, ...]:
        """Return all rows in the order of "the first that fits": a plug-in's before our own."""
        self._and_installed()
        foreign = tuple(self._rows[name] for name in self._foreign if name in self._rows)
        return (*foreign, *(row for name, row in self._rows.items() if name not in self._foreign))

    def foreign(self) -> frozenset[str]:
        """Return the names of the rows that plug-ins added."""
        self._and_installed()
        return frozenset(name for name in self._foreign if name in self._rows)

    def names(self) -> tuple[str, ...]:
        """Return the names of all rows."""
        return tuple(self._and_installed())

    def __iter__(self) -> Iterator[R]:
        return iter(self.rows())

    def __len__(self) -> int:
        return len(self._and_installed())

    def _own(self) -> dict[str, R]:
        if not self._read:
            self._read = True
            for row in self._reader():
                self._rows[self._name(row)] = row
        return self._rows

    def _and_installed(self) -> dict[str, R]:
        from swift.core.plugins import installed  # which notes what is added here

        self._own()
        installed()
        return self._rows


class Addition(NamedTuple):
    """Something that was added to a registry or a table, and how to take it out again."""

    kind: str
    name: str
    undo: Callable[[], object]


_listening: list[list[Addition]] = []
_remembered: list[Callable[[], None]] = []


def added(kind: str, name: str, undo: Callable[[], object], *, own: bool) -> None:
    """Note that `name` was added: what was derived from tables before is forgotten."""
    for forget in _remembered:
        forget()
    if _listening and not own:
        _listening[-1].append(Addition(kind, name, undo))


@contextmanager
def additions() -> Iterator[list[Addition]]:
    """Collect what is added within; if that fails, all of it is taken out again."""
    found: list[Addition] = []
    _listening.append(found)
    try:
        yield found
    except BaseException:
        for addition in reversed(found):
            addition.undo()
        for forget in _remembered:
            forget()
        raise
    finally:
        _listening.remove(found)


def remembered(make: Callable[[], R]) -> Callable[[], R]:
    """Remember what `make` returns until something is added: for what is derived from tables."""
    cached = cache(make)
    _remembered.append(cached.cache_clear)
    return cached
