"""Rows of a file, a folder or a name, one by one, each with its origin."""

from __future__ import annotations

import csv
import errno
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.errors import DataError, MachineError, Problem
from swift.dataset.names import stands_for

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A row as it was found."""

    row: dict[str, Any] | None
    """None where the line is broken."""

    origin: str
    """"mine.jsonl:17"."""

    trouble: str = ""
    """Why there is no row: "broken-line", "not-utf-8"."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from."""

    name: str
    files: tuple[Path, ...] = ()
    generator: str = ""
    """Name of a generated data set, instead of files."""

    take: int | None = None
    """How many rows to draw; None for all."""


def find(name: str) -> Source:
    """Return the source called `name` (`name#500`: 500 rows drawn).

    Looked up as a path, then as ./data/NAME.*, then in the catalogue, then in the hub.

    Raises:
        DataError: There is none; every place looked at is named.
        UserError: SWIFT_HUB names no hub, or several of its data sets have that name.
    """
    whole = _files(_path(name))  # a path may hold a # of its own
    stem, sign, count = name.rpartition("#")
    if whole or not sign:
        stem, sign, count = name, "", ""
    if sign and not (count.isdecimal() and len(count) < 19 and int(count)):
        raise DataError(
            Problem(
                where="dataset",
                what=f"`{name}`: after # comes a number of rows, not `{count}`",
                fix=f"{stem}#500",
            )
        )
    take = int(count) if sign else None
    path = _path(stem)
    beside = (_files(Path("data") / f"{stem}{suffix}") for suffix in SUFFIXES)
    files = whole or _files(path) or next(filter(None, beside), ())
    if files:
        _readable(files)
        return Source(name=name, files=files, take=take)
    named = stands_for(stem, SUFFIXES)
    if named.files or named.generator:
        return Source(name=name, files=named.files, generator=named.generator, take=take)
    raise DataError(
        Problem(
            where="dataset",
            what=f"there is no data set `{stem}`: {path} is no file and no folder with data files, "
            f"there is no {Path('data') / stem}.*; {named.missed}",
            fix=named.fix,
        )
    )


def _path(name: str) -> Path:
    """Return the path called `name`; a ~ before what is no user's name is a letter like any."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _files(path: Path) -> tuple[Path, ...]:
    """Return the file, or the data files of the folder; nothing where neither is."""
    try:
        if path.is_dir():
            inside = (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            return tuple(sorted(p for p in inside if not p.name.startswith(".")))
        return (path,) if path.is_file() else ()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return ()
        raise _cannot_read(path, error) from error


def _readable(files: tuple[Path, ...]) -> None:
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                Problem(
                    where=str(path),
                    what=f"`{path.suffix or path.name}` is no kind of file that is read",
                    fix=f"one of {', '.join(SUFFIXES)}",
                )
            )


def rows(source: Source, *, split: str = "train", seed: int = 42) -> Iterator[Raw]:
    """Yield the rows of a source, streamed; with `take` a draw by `seed`, in the file's order.

    Raises:
        DataError: A file is not what its name says, or not UTF-8; says where it breaks.
        MachineError: A file may not be read, or its disk fails.
    """
    if source.take is None:
        yield from _all(source, split, seed)
        return
    count = sum(1 for _ in _all(source, split, seed))
    picked = set(random.Random(seed).sample(range(count), min(source.take, count)))
    for number, raw in enumerate(_all(source, split, seed)):
        if number in picked:
            yield raw


def _all(source: Source, split: str, seed: int) -> Iterator[Raw]:
    if source.generator:
        from swift.dataset.generated import samples

        for number, row in enumerate(samples(source.generator, split, seed), 1):
            yield Raw(row=row, origin=f"{source.name}:{number}")
    readers = {".parquet": _parquet, ".csv": _csv, ".tsv": _csv, ".json": _json}
    for path in source.files:
        try:
            yield from readers.get(path.suffix.lower(), _lines)(path)
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error
        except OSError as error:
            raise _cannot_read(path, error) from error


def _not_utf8(path: Path) -> DataError:
    """Return the error that names the first line that is not UTF-8."""
    number, line, meant = 0, b"", "GB18030"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                meant = "UTF-16"
            try:
                line.decode()
            except UnicodeDecodeError:
                break
    return DataError(
        Problem(
            where=f"{path}:{number}",
            what="not UTF-8",
            fix=f"iconv -f {meant} -t UTF-8 {path.name} (or from whatever it is in)",
        )
    )


def _cannot_read(path: Path, error: OSError) -> MachineError:
    return MachineError(Problem(where=str(path), what=f"cannot be read: {error.strerror or error}"))


def _parquet(path: Path) -> Iterator[Raw]:
    import pyarrow
    import pyarrow.parquet as pq

    number = 0
    try:
        with path.open("rb") as raw, pq.ParquetFile(raw) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield Raw(row=row, origin=f"{path.name}:{number}")
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        what = f"no readable Parquet file: {error}"
        raise DataError(Problem(where=f"{path}:{number + 1}", what=what)) from error


def _csv(path: Path) -> Iterator[Raw]:
    csv.field_size_limit(2**31 - 1)  # a document may be longer than the 131072 of the default
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            for row in reader:
                whole = None not in row and None not in row.values()
                yield _checked(row if whole else None, f"{path.name}:{reader.line_num}")
        except csv.Error as error:
            where = f"{path}:{reader.line_num}"
            raise DataError(Problem(where=where, what=f"no readable CSV: {error}")) from error


def _json(path: Path) -> Iterator[Raw]:
    """A list of rows, or a map with the list under `data`."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        where, why = f"{path}:{error.lineno}", error.msg
        raise DataError(
            Problem(where=where, what=f"no JSON: {why}", fix="one row a line? call it .jsonl")
        ) from error
    except RecursionError as error:
        raise DataError(Problem(where=str(path), what="no JSON: nested too deeply")) from error
    except ValueError as error:
        what = "no JSON that is read: a number of thousands of digits"
        raise DataError(Problem(where=str(path), what=what)) from error
    listed = tree.get("data") if isinstance(tree, dict) else tree
    if not isinstance(listed, list):
        raise DataError(
            Problem(where=str(path), what="neither a list of rows nor a map with `data: [...]`")
        )
    for number, row in enumerate(listed, 1):
        yield _checked(row, f"{path.name}:{number}")


def _lines(path: Path) -> Iterator[Raw]:
    """One JSON object a line.

    A line that is not UTF-8 is a reject in a file that was seen to be UTF-8 by an earlier line;
    else the whole file is in something else.
    """
    seen = False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            origin = f"{path.name}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                if not seen:
                    raise
                yield Raw(row=None, origin=origin, trouble="not-utf-8")
                continue
            seen = seen or not line.isascii()
            if text.strip():
                yield _checked(_parsed(text), origin)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _checked(row: Any, origin: str) -> Raw:
    good = isinstance(row, dict)
    return Raw(row=row if good else None, origin=origin, trouble="" if good else "broken-line")
