"""Rows of a file, a folder or a catalogue name, one by one, each with its origin."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.errors import DataError, Problem, nearest

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A row as it was found."""

    row: dict[str, Any] | None
    """None where the line is broken."""

    origin: str
    """"mine.jsonl:17"."""

    trouble: str = ""
    """Why there is no row: "broken-line"."""


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

    Looked up as a path, then as ./data/NAME.*, then in the catalogue.

    Raises:
        DataError: There is none; every place looked at is named.
    """
    stem, sign, count = name.partition("#")
    if sign and not (count.isdigit() and int(count)):
        raise DataError(
            Problem(
                where="dataset",
                what=f"`{name}`: after # comes a number of rows, not `{count}`",
                fix=f"{stem}#500",
            )
        )
    take = int(count) if sign else None
    path = Path(stem).expanduser()
    files = (path,) if path.is_file() else _inside(path)
    files = files or tuple(p for s in SUFFIXES if (p := Path("data") / f"{stem}{s}").is_file())[:1]
    if files:
        _readable(files)
        return Source(name=name, files=files, take=take)
    catalogue = _catalogue()
    if stem in catalogue:
        return Source(name=name, generator=catalogue[stem].removeprefix("generated:"), take=take)
    kind = "a folder without data files" if path.is_dir() else "no file or folder"
    raise DataError(
        Problem(
            where="dataset",
            what=f"there is no data set `{stem}`: {path} is {kind}, there is no data/{stem}.*, and "
            "the catalogue has no such name",
            fix=nearest(stem, list(catalogue)),
        )
    )


def _inside(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES))


def _readable(files: tuple[Path, ...]) -> None:
    for path in files:
        if path.suffix not in SUFFIXES:
            raise DataError(
                Problem(
                    where=str(path),
                    what=f"`{path.suffix or path.name}` is no kind of file that is read",
                    fix=f"one of {', '.join(SUFFIXES)}",
                )
            )


def _catalogue() -> dict[str, str]:
    with (Path(__file__).parent / "catalog.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["source"] for row in csv.DictReader(file)}


def rows(source: Source, *, split: str = "train", seed: int = 42) -> Iterator[Raw]:
    """Yield the rows of a source, streamed; with `take` a draw by `seed`, in the file's order.

    Raises:
        DataError: A file cannot be read at all; says where it breaks.
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
    for path in source.files:
        readers = {".parquet": _parquet, ".csv": _csv, ".tsv": _csv, ".json": _json}
        try:
            yield from readers.get(path.suffix, _lines)(path)
        except UnicodeDecodeError as error:
            raise DataError(
                Problem(
                    where=str(path),
                    what=f"byte {error.start} is not UTF-8",
                    fix=f"iconv -f GB18030 -t UTF-8 {path.name} (or from whatever it is in)",
                )
            ) from error


def _parquet(path: Path) -> Iterator[Raw]:
    import pyarrow
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield Raw(row=row, origin=f"{path.name}:{number}")
    except pyarrow.ArrowInvalid as error:
        raise DataError(
            Problem(where=str(path), what=f"no readable Parquet file: {error}")
        ) from error


def _csv(path: Path) -> Iterator[Raw]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        try:
            for row in reader:
                origin = f"{path.name}:{reader.line_num}"
                whole = None not in row and None not in row.values()
                yield Raw(
                    row=dict(row) if whole else None,
                    origin=origin,
                    trouble="" if whole else "broken-line",
                )
        except csv.Error as error:
            where = f"{path}:{reader.line_num}"
            raise DataError(Problem(where=where, what=f"no readable CSV: {error}")) from error


def _json(path: Path) -> Iterator[Raw]:
    """A list of rows, or a map with the list under `data`."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            Problem(
                where=f"{path}:{error.lineno}",
                what=f"no JSON: {error.msg}",
                fix="one row a line? call it .jsonl",
            )
        ) from error
    listed = tree.get("data") if isinstance(tree, dict) else tree
    if not isinstance(listed, list):
        raise DataError(
            Problem(where=str(path), what="neither a list of rows nor a map with `data: [...]`")
        )
    for number, row in enumerate(listed, 1):
        yield _checked(row, f"{path.name}:{number}")


def _lines(path: Path) -> Iterator[Raw]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield _checked(row, f"{path.name}:{number}")


def _checked(row: Any, origin: str) -> Raw:
    good = isinstance(row, dict)
    return Raw(row=row if good else None, origin=origin, trouble="" if good else "broken-line")
