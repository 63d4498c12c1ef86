"""Putting a parcel into a folder that is laid out as a hub."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256 as sha256_of
from pathlib import Path
from threading import Event

from swift.core.errors import Problem, UserError
from swift.core.files import cannot_write, whole_folder
from swift.hub.local import look_up
from swift.hub.parcel import CARD, MARK, Bytes, Parcel, Pushed
from swift.hub.ref import safe
from swift.hub.shelf import alone


def put(root: Path, parcel: Parcel) -> Pushed:
    """Lay a parcel's files into `root`; those that are there besides stay.

    The folder of the model or the data set is replaced as a whole: nobody finds half of it. Of
    several pushes at once, from the look at what is there to the exchange, each waits for the
    other: the last has all of its files there.

    Raises:
        UserError: `root` is no folder, the name has no organisation, or a branch is wanted.
        MachineError: It cannot be written; what was there is as it was.
    """
    if parcel.ref.revision:
        what = f"a folder as a hub has no branches, so there is no `{parcel.ref.revision}`"
        raise UserError(Problem(where="--revision", what=what, fix="leave --revision out"))
    look_up(root, parcel.ref.kind, parcel.ref.id)  # is there such a hub at all
    with alone(_lock(root, parcel), Event(), lambda: None):
        return _put(root, parcel)


def _lock(root: Path, parcel: Parcel) -> Path:
    """Return the file that a push holds; in the hub, since not all who push share a cache."""
    name = f"{parcel.ref.kind}--{parcel.ref.id}".casefold()
    return root / ".locks" / f"{sha256_of(name.encode()).hexdigest()[:32]}.lock"


def _put(root: Path, parcel: Parcel) -> Pushed:
    found = look_up(root, parcel.ref.kind, parcel.ref.id)
    final = found[0] if found else root / parcel.ref.kind / parcel.ref.id
    before = final.with_name(f".{final.name}.before")
    if before.is_dir() and not final.exists():
        before.rename(final)  # a push was killed between its two renames
    same = [p for p, source in parcel.files.items() if _is_there(source, final / p)]
    kept = [CARD] if CARD not in same and _foreign_card(parcel, final) else []
    rest = parcel.without([*same, *kept])
    if rest.files:
        _replace(final, before, rest)
    return Pushed(url=final.as_uri(), sent=tuple(rest.files), same=tuple(same), kept=tuple(kept))


def _replace(final: Path, before: Path, parcel: Parcel) -> None:
    """Put the old files and the parcel's beside `final`, then exchange the two by name."""
    aside = final.with_name(f".{final.name}.pushed")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        with whole_folder(aside) as new:
            if final.is_dir():
                shutil.copytree(final, new, dirs_exist_ok=True, copy_function=_link)
            for path, source in parcel.files.items():
                _lay(source, new / safe(path))
        if final.is_dir():
            shutil.rmtree(before, ignore_errors=True)
            final.rename(before)
        aside.rename(final)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise cannot_write(final, error) from error


def _link(old: str, new: str) -> None:
    """Give a file another name, or copy it where the file system has no links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _lay(source: Bytes, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)  # a second name of the old file: that must not change
    if isinstance(source, bytes):
        place.write_bytes(source)
    else:
        shutil.copyfile(source, place)


def _is_there(source: Bytes, place: Path) -> bool:
    """Return whether `place` holds the same bytes."""
    try:
        if isinstance(source, bytes):
            return place.read_bytes() == source
        if source.stat().st_size != place.stat().st_size:
            return False
        with source.open("rb") as one, place.open("rb") as other:
            while chunk := one.read(1 << 20):
                if other.read(1 << 20) != chunk:
                    return False
        return True
    except OSError:
        return False


def _foreign_card(parcel: Parcel, final: Path) -> bool:
    """Return whether a card of ours would be written over one that is not."""
    ours, mark = parcel.files.get(CARD), MARK.encode()
    card = final / CARD
    theirs = card.is_file() and mark not in card.read_bytes()
    return theirs and isinstance(ours, bytes) and mark in ours
