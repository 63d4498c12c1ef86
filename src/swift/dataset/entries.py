"""The folder of kept entries: one maker of each at a time, and never more than they may take."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.files import cannot_write

if TYPE_CHECKING:
    from typing import IO

CARD = "card.json"
"""What an entry says of itself: written last, and touched whenever it is used."""

NOTES = "files"
"""Folder of the remembered digests of data files."""

MOST_BYTES = 64 << 30
"""Entries together; of more the ones that were not used for longest go."""

OLDEST = 90 * 24 * 3600.0
"""Seconds after which an entry, or a note, goes that was not used."""

_ASIDE = ".aside-"


@contextlib.contextmanager
def alone(home: Path, key: str, waits: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a key within the block; a process that dies lets go of it.

    Args:
        home: The folder of all entries.
        key: The entry's name.
        waits: Is called where another process holds it, before it is waited for.

    Raises:
        WriteError: The lock cannot be made or taken.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = _locked(home / f"{key}.lock", waits)
    except OSError as error:
        raise cannot_write(home, error) from error
    assert file is not None
    with file:
        yield


def removed(path: Path) -> None:
    """Remove whatever has that name: a folder, a file, a link, or nothing.

    Raises:
        WriteError: It cannot be removed.
    """
    try:
        _remove(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def parts(home: Path, key: str = "*") -> list[Path]:
    """Return what makers of a key, or of any, write or have left half-written."""
    return [*home.glob(f"{_ASIDE}{key}-*")]


def bound(home: Path, newest: str) -> None:
    """Remove what was not used for longest, and what killed makers left; never `newest`.

    What another process holds, or may not be removed, stays.
    """
    keys = {path.stem for path in home.glob("*.lock")} | {card.parent.name for card in _cards(home)}
    keys |= {part.name.removeprefix(_ASIDE).rpartition("-")[0] for part in parts(home)}
    stays = _staying(home, newest)
    for key in keys - stays - {""}:
        with contextlib.suppress(OSError), _free(home / f"{key}.lock"):
            for left in (home / key, *parts(home, key)):  # maps of them stay readable
                _remove(left)
            (home / f"{key}.lock").unlink()
    for note in (home / NOTES).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - note.stat().st_mtime > OLDEST:
                note.unlink()


def _staying(home: Path, newest: str) -> set[str]:
    """Return the keys of the entries that are neither too old nor too much."""
    entries = []
    for card in _cards(home):
        with contextlib.suppress(OSError):
            size = sum(path.stat().st_size for path in card.parent.iterdir())
            entries.append((-card.stat().st_mtime, size, card.parent.name))
    stays, total = {newest}, sum(size for _, size, key in entries if key == newest)
    for used, size, key in sorted(entries):
        if key == newest:
            continue
        total += size
        if total <= MOST_BYTES and time.time() + used <= OLDEST:
            stays.add(key)
    return stays


def _cards(home: Path) -> Iterator[Path]:
    return (card for card in home.glob(f"*/{CARD}") if not card.parent.name.startswith("."))


@contextlib.contextmanager
def _free(path: Path) -> Iterator[None]:
    """Hold a lock within the block; BlockingIOError where another process does."""
    file = _locked(path, None)
    if file is None:
        raise BlockingIOError
    with file:
        yield


def _locked(path: Path, waits: Callable[[], object] | None) -> IO[str] | None:
    """Return the open file of a lock that is held; None where it is taken and not waited for."""
    told = False
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waits is None:
                file.close()
                return None
            if not told:
                waits()
            told = True
            fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever held it may have removed the file: then the lock of that name is another.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
