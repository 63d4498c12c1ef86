"""What a data set's name stands for: a row of the catalogue, or a folder of the hub."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from swift.core.env import hub_root
from swift.core.errors import nearest
from swift.hub.local import look_up, names, the_one

_CARDS = frozenset({"configuration.json", "dataset_info.json", "dataset_infos.json", "state.json"})
"""Files that hubs put beside the rows."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What was found under a name; with neither files nor generator, why."""

    files: tuple[Path, ...] = ()
    generator: str = ""
    """Name of a generated data set, instead of files."""

    missed: str = ""
    """The places looked at, as the end of a sentence."""

    fix: str = ""
    """How to come by it, or the nearest name."""


def stands_for(name: str, suffixes: Collection[str]) -> Named:
    """Return what `name` stands for, in any case, with or without its organisation.

    Args:
        name: A name of the catalogue, `ORG/NAME` of the hub, or `NAME` there.
        suffixes: Of the files that hold rows, in lower case.

    Raises:
        UserError: SWIFT_HUB names no hub, or several of its data sets have that name.
    """
    catalogue = _catalogue()
    source = _meant(name, catalogue)
    if source.startswith("generated:"):
        return Named(generator=source.removeprefix("generated:"))
    ids = source.removeprefix("hub:").split("|") if source else [name]
    root = hub_root()
    for id in ids:
        found = look_up(root, "datasets", id) if root else ()
        held = {folder: files for folder in found if (files := _rows_in(folder, suffixes))}
        if (folder := the_one("datasets", name, list(held))) is not None:
            return Named(files=held[folder])
    return _missing(name, ids if source else [], root, list(catalogue))


def _catalogue() -> dict[str, str]:
    with (Path(__file__).parent / "catalog.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["source"] for row in csv.DictReader(file)}


def _meant(name: str, catalogue: dict[str, str]) -> str:
    """Return the source that a name of the catalogue stands for; "" where it is none."""
    said = name.casefold()
    if said in catalogue:
        return catalogue[said]
    for source in catalogue.values():
        ids = source.casefold().removeprefix("hub:").split("|")
        if source.startswith("hub:") and said in (*ids, *(id.split("/")[1] for id in ids)):
            return source
    return ""


def _rows_in(folder: Path, suffixes: Collection[str]) -> tuple[Path, ...]:
    """Return the files with rows of a hub's folder, or of its `data`.

    Where some are called train..., the others are parts to test on.
    """
    for place in (folder, folder / "data"):
        inside = sorted(place.iterdir()) if place.is_dir() else []
        files = [p for p in inside if p.suffix.lower() in suffixes and p.name not in _CARDS]
        files = [p for p in files if p.is_file() and not p.name.startswith(".")]
        if files:
            train = [p for p in files if p.name.lower().startswith("train")]
            return tuple(train or files)
    return ()


def _missing(name: str, ids: list[str], root: Path | None, catalogue: list[str]) -> Named:
    hub = f"{root}/datasets has no {' or '.join(ids or [name])}" if root else "SWIFT_HUB is not set"
    if ids:
        return Named(
            missed=f"it is {ids[0]}, but {hub}, and downloading comes with a later version",
            fix=f"put its rows into ./data/{name}.jsonl, or set "
            f"SWIFT_HUB=file:///folder, which holds datasets/{ids[0]}",
        )
    near = nearest(name, catalogue + (names(root, "datasets") if root else []))
    if not near.startswith("write"):
        near = nearest(name, catalogue)
    return Named(missed=f"the catalogue has no such name, and {hub}", fix=near)
