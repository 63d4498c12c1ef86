"""A look at the files of a data set: what they are, how many rows, and how the first are read."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from swift.chat.message import Sample
from swift.core.errors import DataError, SwiftError
from swift.dataset.formats import Reading, to_samples
from swift.dataset.readers import suffix_of
from swift.dataset.readers.fitting import fitting
from swift.dataset.readers.kind import PACKINGS, packing_of
from swift.dataset.sources import Raw, Source, count, rows

_FIRST = 200
"""Rows that are looked at."""

_SMALL = 1 << 26
"""Bytes of the largest file whose rows are counted one by one."""

_PIECE = 1 << 23
"""Bytes from the beginning of a larger one by which the number of its rows is estimated."""

_WISHES = ("answers", "pairs", "labels", "classes", "embeddings")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen."""

    kinds: tuple[str, ...]
    """What the files are: "jsonl", "jsonl packed as gzip"."""

    size: int
    """Of all files of the part, in bytes."""

    rows: int | None
    """None where they are neither counted nor estimated: a large packed file, a broken one."""

    counted: bool
    """Whether `rows` is exact."""

    columns: tuple[str, ...]
    """Of the first rows, in order."""

    formats: tuple[str, ...]
    """How the first rows are read: "alpaca (instruction, output)"; with what for, if not to answer.
    """

    sample: Sample | None
    """The first that a format made."""

    notes: tuple[str, ...]
    """What is wrong with files or the first rows, and why no format fits."""


def look(source: Source) -> Look:
    """Return what the files of a source hold: a few rows are read, those of small files counted.

    Raises:
        DataError: Its first file is not read at all: it is broken, empty or of another kind.
        MachineError: It may not be read.
    """
    notes = dict[str, None]()

    def note(name: str, origin: str) -> None:
        notes[f"{name}: {origin}"] = None

    first = list(islice(rows(replace(source, take=None), note=note), _FIRST))
    formats, sample, told = _formats(first)
    found, counted = _rows(source)
    return Look(
        kinds=tuple(dict.fromkeys(map(_kind, source.files))),
        size=sum(path.stat().st_size for path in source.files),
        rows=found,
        counted=counted,
        columns=tuple(dict.fromkeys(name for raw in first if raw.row for name in raw.row)),
        formats=formats,
        sample=sample,
        notes=(*notes, *told),
    )


def _kind(path: Path) -> str:
    found = fitting(path)
    packed = {kind.suffix: kind.name for kind in PACKINGS}.get(packing_of(path))
    said = found.reader.suffix.removeprefix(".") or suffix_of(path)
    return f"{said} packed as {packed}" if packed else said


def _formats(raws: Sequence[Raw]) -> tuple[tuple[str, ...], Sample | None, tuple[str, ...]]:
    """Return how rows are read, the first sample, and what is wrong with them."""
    formats, first = dict[str, str](), None
    tried = [_read_for(wish, raws) for wish in _WISHES]
    for wish, (names, sample, _, _) in zip(_WISHES, tried, strict=True):
        first = first or sample
        for name in names if sample else ():
            formats.setdefault(name, "" if wish == "answers" else f" for {wish}")
    _, _, rejects, why = tried[0]
    told = [f"{name}: {n} of the first {len(raws)} rows" for name, n in rejects.items()]
    told += [why] if why and not formats else []
    return tuple(name + wish for name, wish in formats.items()), first, tuple(told)


def _read_for(
    wish: str, raws: Sequence[Raw]
) -> tuple[Sequence[str], Sample | None, Counter[str], str]:
    """Return how rows are read for a wish, the first sample, the rejects, and why there is none."""
    readings, rejects = list[Reading](), Counter[str]()
    try:
        made = list(
            to_samples(
                raws,
                wants=wish,
                on_reject=lambda name, origin: rejects.update((name,)),
                on_reading=readings.append,
            )
        )
    except DataError as error:
        return (), None, rejects, error.problems[0].what
    names = [f"{reading.format} ({', '.join(reading.read)})" for reading in readings]
    return names, next(iter(made), None), rejects, ""


def _rows(source: Source) -> tuple[int | None, bool]:
    """Return how many rows there are, and whether that is exact."""
    total, counted = 0, True
    for path in source.files:
        try:
            found = fitting(path).reader
            by_itself = found.suffix == ".parquet" or path.stat().st_size <= _SMALL
            if by_itself:
                total += count(replace(source, files=(path,), parts={}, part="", take=None))
            elif packing_of(path) or not found.packed:
                return None, False
            else:
                counted = False
                total += _estimated(path, source)
        except SwiftError:
            return None, False
    return total, counted


def _estimated(path: Path, source: Source) -> int:
    """Return about how many rows a large file has, by those of its beginning."""
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as file:
        head = file.read(_PIECE)
        whole = head[: head.rfind(b"\n") + 1] or head
        piece = Path(folder) / f"piece{suffix_of(path)}"
        piece.write_bytes(whole)
        alone = replace(source, files=(piece,), parts={}, part="", take=None)
        here = sum(1 for _ in _until_it_breaks(alone))
        return round(here * path.stat().st_size / len(whole))


def _until_it_breaks(source: Source) -> Iterator[Raw]:
    try:
        yield from rows(source)
    except DataError:  # a list is not closed where the piece ends
        return
