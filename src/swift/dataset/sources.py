"""Rows of a file, a folder or a name, one by one, each with its origin."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from pathlib import Path

from swift.core.errors import DataError, Problem
from swift.dataset.adapters import Adapt, adapter_of
from swift.dataset.folder import Parts
from swift.dataset.here import beside, cannot_read, lack, on_path, plain
from swift.dataset.hubs import on_hubs
from swift.dataset.names import Listed, brought, find_row
from swift.dataset.raw import Raw
from swift.dataset.readers.fitting import fitting, known
from swift.dataset.readers.opened import ArchiveError, not_utf8
from swift.dataset.readers.prose import read as read_prose
from swift.dataset.said import Said, readings

__all__ = ["Raw", "Source", "count", "find", "on_machine", "rows"]

Note = Callable[[str, str], None]
"""Is told (name of a trouble, origin), as `Report.note`."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from."""

    name: str
    files: tuple[Path, ...] = ()
    """Those of the part to learn from."""

    parts: Parts = field(default_factory=dict)
    """All its parts, where it has several."""

    part: str = ""
    """The part that was asked for; "": the one that `rows` is asked for."""

    generator: str = ""
    """Name of a generated data set, instead of files."""

    take: int | None = None
    """How many rows to draw; None for all."""

    adapter: str = ""
    """What makes columns of its rows that a format knows; "" for nothing."""

    documents: str = "file"
    """What is one document of a plain text: file, paragraph, line."""


def find(name: str, *, subset: str = "", part: str = "", documents: str = "file") -> Source:
    """Return the source called `name`, as `[HF::|MS::]NAME[@REVISION][:SUBSET][#ROWS]`.

    Looked up as a path, then among plug-ins, then as ./data/NAME.*, then in the catalogue, then in
    the hubs.

    Args:
        name: What is meant.
        subset: Its subset, where the name does not say; "a/b" for two, "all" for every one.
        part: The part to read whatever `rows` is asked for ("test"); "" for none.
        documents: What is one document of a plain text: file, paragraph, line.

    Raises:
        DataError: There is none, or it has no such subset or part; every place is named.
        UserError: SWIFT_HUB names no hub, or several of its data sets have that name.
    """
    if not name.partition("#")[0].strip():  # "$DATA#500" of a script whose DATA is not set
        what = f"`{name}` names no data set"
        raise DataError(Problem(where="dataset", what=what, fix="write its name before the #"))
    source = _found(name, tuple(filter(None, subset.split("/"))))
    if part and not source.generator and part not in source.parts:
        has = ", ".join(source.parts)
        what = f"`{name}` has no part `{part}`; it has {has}"
        fix = f"split: {next(iter(source.parts))}"
        raise DataError(Problem(where="dataset", what=what, fix=fix))
    return replace(source, part=part or source.part, documents=documents)


def on_machine(name: str) -> Source | None:
    """Return the source that a path or ./data/NAME.* is; None where a name leads elsewhere.

    Raises:
        DataError: What is there is no data, or has no such subset.
        MachineError: It may not be looked at.
    """
    return _here(name, ())[0]


def _here(name: str, subsets: tuple[str, ...]) -> tuple[Source | None, Said]:
    """Return what is at a path or in ./data, if anything is, and what the name says."""
    said = Said(stem=name)
    for said in readings(name):
        said = said if said.subsets else replace(said, subsets=subsets)
        if said.hub == "auto" and (parts := on_path(said)):
            return _of_parts(name, said, parts), said
    if said.hub == "auto" and brought(said.stem) is None and (parts := beside(said)):
        return _of_parts(name, said, parts), said
    return None, said


def _found(name: str, subsets: tuple[str, ...]) -> Source:
    source, said = _here(name, subsets)
    if source is not None:
        return source
    row = brought(said.stem) if said.hub == "auto" else None
    row = row or find_row(said.stem)
    if row is not None and row.source:
        return _own(name, said, row)
    real, adapter = (said.subsets, "") if row is None else _variant(row, said.subsets)
    found = on_hubs(said.stem, row, said.hub, said.revision, real)
    if found.parts:
        return replace(_of_parts(name, said, found.parts, row.part if row else ""), adapter=adapter)
    missed = f"{said.hub} alone is asked"
    if said.hub == "auto":
        beside_it = f"there is no {Path('data') / said.stem}.*"
        missed = f"{lack(said.stem)}, no plug-in brings it, {beside_it}"
    what = f"there is no data set `{said.stem}`: {missed}; {found.missed}"
    raise DataError(Problem(where="dataset", what=what, fix=found.fix))


def _variant(row: Listed, subsets: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the subsets to open, and the adapter that these want.

    A subset that only the adapter knows is another way to read the same files.
    """
    adapter = adapter_of(row.adapter, subsets or row.subsets[:1])
    ways = {name for case in row.adapter.split(" ;; ") for name in case.split("=>")[0].split(",")}
    ways = {way.strip() for way in ways if "=>" in row.adapter}
    return tuple(s for s in subsets if s in row.subsets or s not in ways), adapter


def _of_parts(name: str, said: Said, parts: Parts, usual: str = "") -> Source:
    """Return the source that reads these files; `usual` is the part where nobody says."""
    for path in (path for files in parts.values() for path in files):
        known(path)
    files = tuple(p for part in (usual or "train").split("|") for p in parts.get(part, ()))
    if not files and len(parts) == 1 and not usual:
        usual, files = next(iter(parts.items()))
    if not files:
        what = f"`{said.stem}` has no part `{usual or 'train'}`; it has {', '.join(parts)}"
        fix = f"dataset: {{name: {said.stem}, split: {next(iter(parts))}}}"
        raise DataError(Problem(where="dataset", what=what, fix=fix))
    return Source(name=name, files=files, parts=parts, take=said.take)


def _own(name: str, said: Said, row: Listed) -> Source:
    """Return a source that is on no hub: one that is made here, or that a plug-in brings along."""
    kind, _, place = row.source.partition(":")
    if kind == "generated":
        plain(said, "made by swift itself")
        return Source(name=name, generator=place, take=said.take)
    parts = on_path(replace(said, stem=place))
    if not parts:
        what = f"its plug-in says that the rows of `{row.name}` are in {place}, and none are there"
        raise DataError(Problem(where="dataset", what=what, fix=f"mend the source of {row.name}"))
    return replace(_of_parts(name, said, parts, row.part), adapter=_variant(row, said.subsets)[1])


def rows(
    source: Source, *, split: str = "train", seed: int = 42, note: Note | None = None
) -> Iterator[Raw]:
    """Yield the rows of a source, streamed; with `take` a draw by `seed`, in the files' order.

    Args:
        source: What `find` returned.
        split: The part wanted; a source that has no such part gives its training part.
        seed: Of the draw; the same rows for the same seed on every machine.
        note: Is told of what happens to a whole source or file: "fewer-rows", "empty-file",
            "misnamed".

    Raises:
        DataError: A file is not what its name says, or not UTF-8; says where it breaks.
        MachineError: A file may not be read, or its disk fails.
    """
    note = note or (lambda name, origin: None)
    if source.take is None:
        yield from _all(source, split, seed, note)
        return
    total = count(source, split, seed)
    if total < source.take:
        note("fewer-rows", f"{source.name}: it has {total}")
    draw = random.Random(seed).random  # the one function that Python promises never to change
    left = min(source.take, total)
    for number, raw in enumerate(_all(source, split, seed, note)):
        if draw() * (total - number) < left:
            left -= 1
            yield raw
            if not left:
                return


def count(source: Source, split: str = "train", seed: int = 42) -> int:
    """Return how many rows a source has, whatever its `take`; rejects among them.

    Raises:
        DataError, MachineError: As for `rows`.
    """
    files = _files(source, split)
    if not source.generator and not source.adapter:
        counts = list(takewhile(lambda count: count is not None, map(_quick, files)))
        if len(counts) == len(files):
            return sum(filter(None, counts))
    return sum(1 for _ in _all(source, split, seed, lambda name, origin: None))


def _quick(path: Path) -> int | None:
    """Return how many Raws a file yields, where that is known faster than by reading it."""
    with _told(path):
        if not path.stat().st_size:
            return 0
        quick = fitting(path).reader.count
        return None if quick is None else quick(path)
    raise AssertionError


def _files(source: Source, split: str) -> tuple[Path, ...]:
    if source.part or split != "train":
        return source.parts.get(source.part or split) or source.files
    return source.files


def _all(source: Source, split: str, seed: int, note: Note) -> Iterator[Raw]:
    if source.generator:
        from swift.dataset.generated import samples

        for number, row in enumerate(samples(source.generator, source.part or split, seed), 1):
            yield Raw(row=row, origin=f"{source.name}:{number}")
        return
    adapt = Adapt(source.adapter)
    files = _files(source, split)
    for path in files:
        found = _of_file(path, source.documents, note)
        first = next(found, None)
        if first is not None:
            found = chain((first,), found)
            yield from adapt(found) if source.adapter else found
        elif len(files) > 1:
            note("empty-file", path.name)
        else:
            what = "the file holds no row" if path.stat().st_size else "the file is empty"
            raise DataError(Problem(where=str(path), what=what, fix="give rows"))


def _of_file(path: Path, documents: str, note: Note) -> Iterator[Raw]:
    """Yield what a file holds; what it or its disk does wrong is told in words."""
    with _told(path) as reached:
        if not path.stat().st_size:
            return
        found = fitting(path)
        if found.otherwise:
            note("misnamed", f"{path.name} ({found.otherwise})")
        read = found.reader.read
        for raw in read_prose(path, documents) if found.reader.prose else read(path):
            reached.append(raw.origin)
            yield raw


@contextmanager
def _told(path: Path) -> Iterator[deque[str]]:
    """Turn what a file or its disk does wrong into words; the last origin goes into what it yields.

    Raises:
        DataError: The file is spoilt.
        MachineError: It cannot be read.
    """
    reached = deque[str](maxlen=1)
    try:
        yield reached
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except ArchiveError as error:
        after = f" after {reached[0]}" if reached else ""
        what = f"its compression breaks{after}: {error}"
        fix = "it is cut short or spoilt: fetch or write it again"
        raise DataError(Problem(where=str(path), what=what, fix=fix)) from error
    except OSError as error:
        raise cannot_read(path, error) from error
