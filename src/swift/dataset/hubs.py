"""The folder of a data set that a hub has: SWIFT_HUB's own, or fetched where it is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TypeAlias

from swift.core.env import hub_root
from swift.core.errors import DataError, MachineError, UserError
from swift.dataset.folder import ALL, Parts, parts_of
from swift.dataset.names import Listed, near, refs_of, refs_of_row
from swift.hub.local import look_up, names, the_one
from swift.hub.ref import Ref

Subsets: TypeAlias = tuple[Sequence[str], Sequence[str]]
"""Those asked for, and those to take where nobody asks and there is no default."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a hub has under a name; without parts, why."""

    parts: Parts = field(default_factory=dict)

    missed: str = ""
    """The places looked at, as the end of a sentence."""

    fix: str = ""
    """How to come by it, or the nearest name."""


def on_hubs(
    name: str, row: Listed | None, hub: str, revision: str, subsets: Sequence[str]
) -> Found:
    """Return what the hubs have of a data set.

    Args:
        name: What was said: `ORG/NAME`, or `NAME` alone in a folder as a hub.
        row: Its row of the catalogue, if it has one.
        hub: "huggingface", "modelscope", or "auto".
        revision: Branch, tag or commit; "" for the main one.
        subsets: Which of its subsets; () for the default one.

    Raises:
        UserError: SWIFT_HUB names no hub, or several of its data sets have that name.
        DataError: It has no such subset.
        MachineError: No hub can be reached.
    """
    usual = tuple(name for name in row.subsets[:1] if name != "default") if row else ()
    both: Subsets = (tuple(name for name in subsets if name != "default"), usual)
    root = hub_root()
    if root is not None:
        ids = row.ids if row else (name,)
        return _in_folder(root, name, ids, row is not None, both)
    refs = refs_of_row(row, revision) if row else refs_of(name, revision)
    if refs and (hub == "auto" or hub in refs):
        return _fetched(refs, hub, both)
    missed = f"it is not on {hub}" if refs else "it is no ORG/NAME"
    if row is None:
        missed = f"the catalogue has no such name, and {missed}"
    return Found(missed=missed, fix=_hint(name, ()) if not refs else "leave out the hub's name")


def _in_folder(root: Path, name: str, ids: Sequence[str], listed: bool, subsets: Subsets) -> Found:
    """Return what a folder laid out as a hub has."""
    for id in ids:
        found = look_up(root, "datasets", id)
        held = {folder: parts for folder in found if (parts := _several(folder, subsets, found))}
        if (folder := the_one("datasets", name, list(held))) is not None:
            return Found(parts=held[folder])
    lack = f"{root}/datasets has no {' or '.join(ids)}"
    if not listed:
        missed = f"the catalogue has no such name, and {lack}"
        return Found(missed=missed, fix=_hint(name, names(root, "datasets")))
    return Found(
        missed=f"it is {ids[0]}, but {lack}, and nothing is fetched",
        fix=f"put its rows into ./data/{name}.jsonl, or unset SWIFT_HUB to fetch it, or let it "
        f"hold datasets/{ids[0]}",
    )


def _parts(folder: Path, subsets: Subsets) -> Parts:
    """Return the parts of the subsets asked for, else of the default one or the usual one."""
    asked, usual = subsets
    try:
        return parts_of(folder, asked)
    except DataError:
        if asked or not usual:
            raise
        return parts_of(folder, usual)


def _several(folder: Path, subsets: Subsets, found: Sequence[Path]) -> Parts:
    """Return a folder's parts; of several folders that may be meant, one that fails has none."""
    try:
        return _parts(folder, subsets)
    except UserError:
        if len(found) == 1:
            raise
        return {}


def _fetched(refs: Mapping[str, Ref], hub: str, subsets: Subsets) -> Found:
    """Return the rows that a hub has, fetched where they are missing.

    A list of files is asked for each time, since a cache may hold a part of a data set; where no
    hub can be reached, what the cache holds must do.
    """
    from swift.hub.fetch import cached  # names TLS and HTTP, which take a while

    try:
        folder = _brought(refs, hub, subsets[0])
    except MachineError:
        for kept in cached(refs, hub):
            if parts := _parts(kept, subsets):
                return Found(parts=parts)
        raise
    except UserError as error:
        said = "; ".join(problem.what for problem in error.problems)
        return Found(missed=said, fix=error.problems[0].fix)
    if parts := _parts(folder, subsets):
        return Found(parts=parts)
    return Found(missed=f"{folder} has no rows at its top or in data/", fix="give a folder of it")


def _brought(refs: Mapping[str, Ref], hub: str, asked: Sequence[str]) -> Path:
    """Return the folder with the files of the subsets asked for, if their paths tell; else all."""
    from swift.hub.fetch import fetch

    if asked and ALL not in asked:
        patterns = ["README.md", *(f"*{escape(name)}*" for name in asked)]
        with suppress(UserError):  # no such path, or the card calls the files otherwise
            folder = fetch(refs, hub=hub, patterns=patterns)
            if parts_of(folder, asked):
                return folder
    return fetch(refs, hub=hub)


def _hint(name: str, also: Sequence[str]) -> str:
    close = near(name, also)
    if close:
        return "write " + " or ".join(f"`{c}`" for c in close)
    return "a path, ORG/NAME of a hub, or a name that `swift list datasets` shows"
