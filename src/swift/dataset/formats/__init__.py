"""Rows to Samples: which format a row is in is seen from its columns.

Add one: a function and its row in `FORMATS` of a file here, or, in a plug-in, a function under
`@format("name", "columns it wants")`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swift.chat.message import Sample
from swift.core.errors import DataError, Problem, nearest
from swift.core.table import Table
from swift.dataset.rejects import Reject, Row

if TYPE_CHECKING:
    from swift.dataset.raw import Raw

_OURS = ("similar", "preference", "conversation", "question", "text")
"""The files with our own, the most telling first: a row is in the first format that it fits."""


@dataclass(frozen=True)
class Format:
    """A way to spell samples in columns."""

    name: str
    wants: tuple[str, ...]
    """Columns that must be there, alternatives joined by "|"."""

    read: Callable[[Row], Sample]

    serves: tuple[str, ...] = ()
    """The wishes that it is for: see `wanted.py`; () for any."""

    @classmethod
    def of(
        cls, name: str, wants: str, serves: str = "", *, read: Callable[[Row], Sample]
    ) -> Format:
        """Return a format whose columns, and the wishes that it is for, are separated by spaces."""
        return cls(name, tuple(wants.split()), read, tuple(serves.split()))

    def fits(self, columns: Iterable[str], wish: str = "answers") -> bool:
        """Return whether a row with these columns may be in this format."""
        have = set(columns)
        served = not self.serves or wish in self.serves
        return served and all(any(c in have for c in want.split("|")) for want in self.wants)


def _ours() -> Iterator[Format]:
    for name in _OURS:
        yield from importlib.import_module(f"{__name__}.{name}").FORMATS


formats: Table[Format] = Table("format", _ours, lambda found: found.name)
"""All of them. A plug-in adds one with `@format(...)`."""


def format(
    name: str, wants: str, serves: str = ""
) -> Callable[[Callable[[Row], Sample]], Callable[[Row], Sample]]:
    """Register the decorated function as the format `name` for rows with the columns `wants`.

    The function returns the turns that a row says (and raises `Reject`, KeyError, TypeError or
    ValueError for a row that says none); media, boxes, tools, and the columns that it does not look
    at, are added to what it returns.
    """

    def register(read: Callable[[Row], Sample]) -> Callable[[Row], Sample]:
        formats.add(Format.of(name, wants, serves, read=read))
        return read

    return register


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows with the same columns were read: said once, so that nobody has to guess."""

    format: str
    wish: str
    """What was wanted of them: answers, pairs, labels, prompts, classes, embeddings."""

    read: tuple[str, ...]
    """Columns that were looked at."""

    unread: tuple[str, ...]
    """Columns that were not: they go into Sample.columns."""

    origin: str
    """The first such row."""

    def describe(self) -> str:
        """Return a line for people."""
        text = f"{self.origin}: read as {self.format} ({', '.join(self.read)})"
        text += f" for {self.wish}" if self.wish != "answers" else ""
        return text + (f"; not read: {', '.join(self.unread)}" if self.unread else "")


def to_samples(
    raws: Iterable[Raw],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    wants: str = "answers",
    task: str = "chat",
    on_reject: Callable[[str, str], object],
    on_reading: Callable[[Reading], object] | None = None,
) -> Iterator[Sample]:
    """Yield the Samples of rows: one each, or none; of a pair, where labels are wanted, two.

    Args:
        raws: Rows of one source.
        format: Name of a format; auto: the first one that a row's columns fit.
        columns: Columns to rename first.
        wants: What the method wants: answers, pairs, labels, prompts, classes or embeddings. It
            decides what a column like `label` means.
        task: The shape of a sample: a name of `swift.dataset.tasks`.
        on_reject: Is told (name, origin) of every row that gives no Sample.
        on_reading: Is told once how rows with the same columns are read.

    Raises:
        DataError: The format is unknown, or the first row's columns do not fit it (or any), or do
            not hold what is wanted.
    """
    from swift.dataset.formats._reader import Reader

    reader = Reader(_candidates(format, task), wants, task, on_reading)
    begun = False
    for raw in raws:
        if raw.row is None:
            on_reject(raw.trouble, raw.origin)
            continue
        row = _renamed(raw.row, columns) if columns else raw.row
        if not begun:
            reader.check(row, raw.origin)
            begun = True
        try:
            made = reader.samples(row, raw.origin)
        except Reject as reject:
            on_reject(str(reject), raw.origin)
        else:
            yield from made


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """Return the row with its columns renamed; one that had the new name already gives way."""
    kept = {name: value for name, value in row.items() if name not in columns}
    return kept | {columns[name]: value for name, value in row.items() if name in columns}


def _of_task(name: str) -> tuple[Format, ...]:
    """Return the task's own way to make samples, if it has one."""
    from swift.dataset.tasks import task_of

    task = task_of(name)
    if task.read is None and not task.answers:
        return ()
    return (Format(task.name, task.columns(), task.sample, ("answers", "prompts")),)


def _candidates(name: str, task: str) -> tuple[Format, ...]:
    """Return the formats that rows may be in: the one named, or all, those of the task first."""
    if name == "auto":
        return (*_of_task(task), *formats.by_weight())
    found = formats.get(name)
    if found is None:
        raise DataError(
            Problem(
                where="dataset.format",
                what=f"there is no format `{name}`",
                fix=nearest(name, formats.names()),
            )
        )
    return (found,)
