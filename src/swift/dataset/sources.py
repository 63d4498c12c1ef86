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

    Raises:
        DataError: There is none; every place looked at is named.
    """
    stem, _, count = name.partition("#")
    take = int(count) if count.isdigit() else None
    path = Path(stem).expanduser()
    if path.is_file():
        return Source(name=name, files=(path,), take=take)
    if path.is_dir():
        files = tuple(sorted(p for p in path.iterdir() if p.suffix in SUFFIXES))
        if files:
            return Source(name=name, files=files, take=take)
    for suffix in SUFFIXES:
        here = Path("data") / f"{stem}{suffix}"
        if here.is_file():
            return Source(name=name, files=(here,), take=take)
    catalogue = _catalogue()
    if stem in catalogue:
        return Source(name=name, generator=catalogue[stem].removeprefix("generated:"), take=take)
    raise DataError(
        Problem(
            where="dataset",
            what=f"there is no data set `{stem}`: no file or folder of that name, no "
            f"data/{stem}.*, not in the catalogue",
            fix=nearest(stem, list(catalogue)),
        )
    )


def _catalogue() -> dict[str, str]:
    with (Path(__file__).parent / "catalog.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["source"] for row in csv.DictReader(file)}


def rows(source: Source, *, split: str = "train", seed: int = 42) -> Iterator[Raw]:
    """Yield the rows of a source; with `take` a draw by `seed`, in the file's order."""
    found = _all(source, split, seed)
    if source.take is None:
        yield from found
        return
    everything = list(found)
    picked = random.Random(seed).sample(range(len(everything)), min(source.take, len(everything)))
    for i in sorted(picked):
        yield everything[i]


def _all(source: Source, split: str, seed: int) -> Iterator[Raw]:
    if source.generator:
        from swift.dataset.generated import samples

        for number, row in enumerate(samples(source.generator, split, seed), 1):
            yield Raw(row=row, origin=f"{source.name}:{number}")
    for path in source.files:
        yield from _file(path)


def _file(path: Path) -> Iterator[Raw]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for number, row in enumerate(pq.read_table(path).to_pylist(), 1):
            yield Raw(row=row, origin=f"{path.name}:{number}")
    elif path.suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            for row in reader:
                yield Raw(row=dict(row), origin=f"{path.name}:{reader.line_num}")
    elif path.suffix == ".json":
        tree = json.loads(path.read_text(encoding="utf-8"))
        listed = tree["data"] if isinstance(tree, dict) else tree
        for number, row in enumerate(listed, 1):
            yield Raw(row=row, origin=f"{path.name}:{number}")
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[Raw]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            origin = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            good = isinstance(row, dict)
            yield Raw(
                row=row if good else None, origin=origin, trouble="" if good else "broken-line"
            )
