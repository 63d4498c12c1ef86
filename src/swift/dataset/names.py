"""What a data set's name stands for: a row of the catalogue, or a folder of the hub."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from swift.core.env import hub_root
from swift.core.errors import MachineError, UserError, nearest
from swift.core.table import Table
from swift.hub.local import look_up, names, the_one
from swift.hub.ref import Ref

_CARDS = frozenset({"configuration.json", "dataset_info.json", "dataset_infos.json", "state.json"})
"""Files that hubs put beside the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A row of catalog.csv, or a plug-in's: a data set that has a name."""

    name: str
    """In lower case."""

    source: str
    """Where its rows are: `hub:` with its id on ModelScope and on Hugging Face (one, or both with
    | between); `file:` with a path; `generated:` with "module:function", which is called with the
    split ("train", ...) and the seed, and yields rows."""

    task: str = "chat"
    about: str = ""


def _read() -> Iterator[Listed]:
    with (Path(__file__).parent / "catalog.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Listed(**row)


datasets: Table[Listed] = Table("data set", _read, lambda row: row.name)
"""All of them. A plug-in adds one with `datasets.add(Listed(...))`."""


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
    if source.startswith("file:"):
        return _own_file(name, Path(source.removeprefix("file:")), suffixes)
    ids = source.removeprefix("hub:").split("|") if source else [name]
    root = hub_root()
    if root is None:
        return _on_hubs(name, suffixes) or _missing(name, ids if source else [], root, [*catalogue])
    for id in ids:
        found = look_up(root, "datasets", id)
        held = {folder: files for folder in found if (files := _rows_in(folder, suffixes))}
        if (folder := the_one("datasets", name, list(held))) is not None:
            return Named(files=held[folder])
    return _missing(name, ids if source else [], root, list(catalogue))


def _own_file(name: str, place: Path, suffixes: Collection[str]) -> Named:
    """Return the rows that a plug-in brings along."""
    files = (place,) if place.is_file() else _rows_in(place, suffixes)
    missed = f"its plug-in says that its rows are in {place}, and there are none"
    return Named(files=files) if files else Named(missed=missed, fix=f"mend the source of {name}")


def refs_of(name: str, revision: str = "") -> Mapping[str, Ref]:
    """Return what a data set is called on each hub; nothing where it is no name of a hub."""
    source = _meant(name, _catalogue())
    if source:
        ids = source.removeprefix("hub:").split("|") if source.startswith("hub:") else []
    else:
        ids = [name] if name.count("/") == 1 and not Path(name).parent.is_dir() else []
    try:
        refs = [Ref(kind="datasets", id=id) for id in ids]
    except UserError:
        return {}
    refs = [replace(ref, revision=revision) for ref in refs]
    return {"huggingface": refs[-1], "modelscope": refs[0]} if refs else {}


def _on_hubs(name: str, suffixes: Collection[str]) -> Named | None:
    """Return the rows that a hub has, fetched where they are missing; None: no hub's name.

    A list of files is asked for each time, since a cache may hold a part of a data set; where no
    hub can be reached, what the cache holds must do.
    """
    refs = refs_of(name)
    if not refs:
        return None
    from swift.hub.fetch import cached, fetch  # names TLS and HTTP, which take a while

    try:
        folder = fetch(refs)
    except MachineError:
        for kept in cached(refs):
            if files := _rows_in(kept, suffixes):
                return Named(files=files)
        raise
    except UserError as error:
        said = "; ".join(problem.what for problem in error.problems)
        return Named(missed=said, fix=error.problems[0].fix)
    if files := _rows_in(folder, suffixes):
        return Named(files=files)
    return Named(missed=f"{folder} has no rows at its top or in data/", fix="give a folder of it")


def _catalogue() -> dict[str, str]:
    return {row.name: row.source for row in datasets}


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
    hub = f"{root}/datasets has no {' or '.join(ids or [name])}" if root else "it is no ORG/NAME"
    if ids:
        return Named(
            missed=f"it is {ids[0]}, but {hub}, and nothing is fetched",
            fix=f"put its rows into ./data/{name}.jsonl, or unset SWIFT_HUB to fetch it, or let it "
            f"hold datasets/{ids[0]}",
        )
    near = nearest(name, catalogue + (names(root, "datasets") if root else []))
    if not near.startswith("write"):
        near = nearest(name, catalogue)
    return Named(missed=f"the catalogue has no such name, and {hub}", fix=near)
