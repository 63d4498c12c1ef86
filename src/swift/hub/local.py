"""A folder laid out as a hub: models/ORG/NAME/... and datasets/ORG/NAME/..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from swift.core.errors import MachineError, Problem, UserError

Kind: TypeAlias = Literal["models", "datasets"]
"""What a hub holds, as its two folders are called."""


def look_up(root: Path, kind: Kind, id: str) -> tuple[Path, ...]:
    """Return the folders that `id` may mean, the exact spelling first, then in order of name.

    Names match without regard to case, and are compared with what the folder lists: no `..` or
    leading `/` in an id leads out of the hub.

    Args:
        root: The hub's folder.
        kind: Which of its two halves.
        id: `ORG/NAME`, or `NAME` alone: a folder of that name, or that of any organisation.

    Raises:
        UserError: `root` is no folder, or a link in it leads out of it.
        MachineError: A folder of the hub may not be read.
    """
    if not root.is_dir():
        what = f"`{root}` is no folder"
        raise UserError(Problem(where="SWIFT_HUB", what=what, fix="SWIFT_HUB=file:///folder"))
    parts = id.split("/")
    half = root / kind
    if len(parts) == 2:
        found = [p for org in _named(half, parts[0]) for p in _named(org, parts[1])]
    elif len(parts) == 1:
        owned = [p for org in _folders(half) for p in _named(org, id)]
        found = _named(half, id) + owned
    else:
        return ()
    return tuple(_inside(root, path) for path in found)


def the_one(kind: Kind, id: str, held: Sequence[Path]) -> Path | None:
    """Return the folder of `held` (from `look_up`, without those of no use) that `id` means.

    A folder of that very name, outside any organisation, comes before those of organisations.

    Raises:
        UserError: Several organisations have one; says which.
    """
    owners = {path.parent.name.casefold() for path in held}
    if len(owners) > 1 and held[0].parent.name != kind:
        several = [f"{path.parent.name}/{path.name}" for path in held]
        what = f"`{id}` may mean several {kind} of the hub: {', '.join(several)}"
        raise UserError(Problem(where="SWIFT_HUB", what=what, fix=f"write `{several[0]}`"))
    return held[0] if held else None


def names(root: Path, kind: Kind) -> list[str]:
    """Return every `ORG/NAME` of one half of the hub, sorted."""
    found = (path for org in _folders(root / kind) for path in _folders(org))
    return sorted(f"{path.parent.name}/{path.name}" for path in found)


def _named(folder: Path, name: str) -> list[Path]:
    same = [p for p in _folders(folder) if p.name.casefold() == name.casefold()]
    return sorted(same, key=lambda p: (p.name != name, p.name))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        what = f"{folder} cannot be read: {error.strerror or error}"
        raise MachineError(Problem(where="SWIFT_HUB", what=what)) from error


def _inside(root: Path, path: Path) -> Path:
    """Return `path` resolved, which must still lie in the hub."""
    real = path.resolve()
    if not real.is_relative_to(root.resolve()):
        what = f"{path} is a link that leads out of the hub"
        raise UserError(Problem(where="SWIFT_HUB", what=what, fix=f"give the folder: {real}"))
    return real
