"""Which reader a file's name asks for.

Add one: a function from a path to Raws under `@reader(".suffix")`; it streams, and an OSError or
UnicodeDecodeError of its file may pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from swift.core.table import Table
from swift.dataset.raw import Raw
from swift.dataset.readers.opened import PACKED

Read: TypeAlias = Callable[[Path], Iterator[Raw]]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How files whose names end alike are read."""

    suffix: str
    """In lower case, with its dot."""

    read: Read
    """Yields the rows of a file, each under the origin NAME:NUMBER."""

    count: Callable[[Path], int] | None = None
    """How many Raws `read` yields, found faster than by reading; None: no faster way."""

    otherwise: Callable[[Path], str] | None = None
    """What such a file is read as, where that is not what its name says; "" where it is."""

    packed: bool = True
    """Whether a compressed file may be read: not where one must jump about in it."""

    prose: bool = False
    """Whether it is text without columns: in a folder that has tables too, it is no data."""


def _own() -> Iterator[Reader]:
    from swift.dataset.readers import columns, lines, listed, prose, separated

    read, count, otherwise = lines.read, lines.count, lines.otherwise
    jsonl = Reader(suffix=".jsonl", read=read, count=count, otherwise=otherwise)
    yield jsonl
    yield replace(jsonl, suffix=".ndjson")
    yield Reader(suffix=".json", read=listed.read)
    yield Reader(suffix=".csv", read=separated.read, otherwise=separated.otherwise)
    yield Reader(suffix=".tsv", read=separated.read, otherwise=separated.otherwise)
    yield Reader(suffix=".parquet", read=columns.parquet, count=columns.count, packed=False)
    for suffix in (".arrow", ".feather", ".ipc"):
        yield Reader(suffix=suffix, read=columns.arrow, packed=False)
    yield Reader(suffix=".txt", read=prose.read, prose=True)


readers: Table[Reader] = Table("reader", _own, lambda found: found.suffix)
"""All of them. A plug-in adds one with `@reader(...)`."""


def reader(*suffixes: str) -> Callable[[Read], Read]:
    """Register the decorated function as the reader of files that end in one of `suffixes`."""

    def register(read: Read) -> Read:
        for suffix in suffixes:
            readers.add(Reader(suffix=suffix.lower(), read=read))
        return read

    return register


def suffix_of(path: Path) -> str:
    """Return the suffix that says what is in a file, in lower case: ".jsonl" of "a.JSONL.gz"."""
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return path.suffix.lower()


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a file, if there is one for its name."""
    found = readers.get(suffix_of(path))
    packed = path.suffix.lower() in PACKED
    return None if found is None or (packed and not found.packed) else found


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of all files that are read, uncompressed."""
    return readers.names()
