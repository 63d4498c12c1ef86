"""Rows of a file, a folder or a name, one by one, each with its origin."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from swift.core.errors import DataError, MachineError, Problem
from swift.dataset.adapters import Adapt, adapter_of
from swift.dataset.folder import Parts, parts_of
from swift.dataset.hubs import on_hubs
from swift.dataset.names import Listed, brought, find_row
from swift.dataset.raw import Raw
from swift.dataset.readers import Read, reader_of, suffixes
from swift.dataset.readers.opened import PACKED, ArchiveError, not_utf8
from swift.dataset.readers.prose import read as read_prose
from swift.dataset.said import Said, readings

__all__ = ["Raw", "Source", "find", "rows"]

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


def _found(name: str, subsets: tuple[str, ...]) -> Source:
    said = Said(stem=name)
    for said in readings(name):
        said = said if said.subsets else replace(said, subsets=subsets)
        if said.hub == "auto" and (parts := _there(_path(said.stem), said.subsets)):
            return _of_parts(name, said, parts)
    row = brought(said.stem) if said.hub == "auto" else None
    if row is None and said.hub == "auto":
        files = next(filter(None, map(_file, _beside(said.stem))), ())
        if files:
            return _of_parts(name, said, {"train": files})
    row = row or find_row(said.stem)
    if row is not None and row.source:
        return _own(name, said, row)
    real, adapter = (said.subsets, "") if row is None else _variant(row, said.subsets)
    found = on_hubs(said.stem, row, said.hub, said.revision, real)
    if found.parts:
        return replace(_of_parts(name, said, found.parts, row.part if row else ""), adapter=adapter)
    missed = [f"{_path(said.stem)} is no file and no folder with data files"]
    missed += ["no plug-in brings it", f"there is no {Path('data') / said.stem}.*"]
    what = f"there is no data set `{said.stem}`: {', '.join(missed)}; {found.missed}"
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
        _check(path)
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
        return Source(name=name, generator=place, take=said.take)
    parts = _there(Path(place), said.subsets)
    if not parts:
        what = f"its plug-in says that the rows of `{row.name}` are in {place}, and none are there"
        raise DataError(Problem(where="dataset", what=what, fix=f"mend the source of {row.name}"))
    return replace(_of_parts(name, said, parts, row.part), adapter=_variant(row, said.subsets)[1])


def _path(name: str) -> Path:
    """Return the path called `name`; a ~ before what is no user's name is a letter like any."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _there(path: Path, subsets: tuple[str, ...] = ()) -> Parts:
    """Return the parts of a folder, or the file; {} where neither is."""
    try:
        if path.is_dir():
            return parts_of(path, subsets)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return {}
        raise _cannot_read(path, error) from error
    files = () if subsets else _file(path)
    return {"train": files} if files else {}


def _file(path: Path) -> tuple[Path, ...]:
    try:
        return (path,) if path.is_file() else ()
    except (OSError, ValueError) as error:  # a name too long, or with half a character
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            return ()
        raise _cannot_read(path, error) from error


def _beside(stem: str) -> Iterator[Path]:
    """Yield the files that may hold the rows of ./data/NAME.*."""
    for packed in ("", *PACKED):
        for suffix in suffixes():
            yield Path("data") / f"{stem}{suffix}{packed}"


def _check(path: Path) -> None:
    if reader_of(path) is not None:
        return
    packed = path.suffix.lower() in PACKED
    inside = path.with_suffix("").suffix if packed else path.suffix
    what = f"`{inside or path.name}` is no kind of file that is read"
    fix = f"one of {', '.join(suffixes())}, also with {', '.join(PACKED)}"
    if packed and inside in suffixes():
        what = f"a `{inside}` file is not read while it is packed as `{path.suffix}`"
        fix = f"unpack it: it is compressed inside already ({path.with_suffix('').name})"
    raise DataError(Problem(where=str(path), what=what, fix=fix))


def rows(
    source: Source, *, split: str = "train", seed: int = 42, note: Note | None = None
) -> Iterator[Raw]:
    """Yield the rows of a source, streamed; with `take` a draw by `seed`, in the files' order.

    Args:
        source: What `find` returned.
        split: The part wanted; a source that has no such part gives its training part.
        seed: Of the draw; the same rows for the same seed on every machine.
        note: Is told of what happens to a whole source or file: "fewer-rows", "empty-file".

    Raises:
        DataError: A file is not what its name says, or not UTF-8; says where it breaks.
        MachineError: A file may not be read, or its disk fails.
    """
    note = note or (lambda name, origin: None)
    if source.take is None:
        yield from _all(source, split, seed, note)
        return
    count = _count(source, split, seed)
    if count < source.take:
        note("fewer-rows", f"{source.name}: it has {count}")
    draw = random.Random(seed).random  # the one function that Python promises never to change
    left = min(source.take, count)
    for number, raw in enumerate(_all(source, split, seed, note)):
        if draw() * (count - number) < left:
            left -= 1
            yield raw
            if not left:
                return


def _count(source: Source, split: str, seed: int) -> int:
    """Return how many Raws a source yields."""
    files = [(path, reader_of(path)) for path in _files(source, split)]
    if source.generator or source.adapter or not all(found and found.count for _, found in files):
        return sum(1 for _ in _all(source, split, seed, lambda name, origin: None))
    return sum(_guarded_count(path, found.count) for path, found in files if found and found.count)


def _guarded_count(path: Path, count: Callable[[Path], int]) -> int:
    def once(path: Path) -> Iterator[Raw]:
        yield Raw(row={"count": count(path)}, origin=path.name)

    return sum(raw.row["count"] for raw in _guarded(path, once) if raw.row)


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
        if not path.exists() or path.stat().st_size:
            yield from adapt(_guarded(path, _reading(path, source.documents)))
        elif len(files) > 1:
            note("empty-file", path.name)
        else:
            raise DataError(Problem(where=str(path), what="the file is empty", fix="give rows"))


def _reading(path: Path, documents: str) -> Read:
    found = reader_of(path)
    if found is None:
        _check(path)
    assert found is not None
    return partial(read_prose, documents=documents) if found.prose else found.read


def _guarded(path: Path, read: Read) -> Iterator[Raw]:
    """Yield what `read` yields; what the file or its disk does wrong is told in words."""
    last = ""
    try:
        for raw in read(path):
            last = raw.origin
            yield raw
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except ArchiveError as error:
        after = f" after {last}" if last else ""
        what = f"its compression breaks{after}: {error}"
        fix = "it is cut short or spoilt: fetch or write it again"
        raise DataError(Problem(where=str(path), what=what, fix=fix)) from error
    except OSError as error:
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: OSError) -> MachineError:
    return MachineError(Problem(where=str(path), what=f"cannot be read: {error.strerror or error}"))
