"""What goes up to a hub, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO, TypeAlias

from swift.core.errors import Problem, UserError
from swift.hub.ref import Check, File, Ref

CARD = "README.md"
"""The file that a hub shows as a repository's page."""

MARK = "<!-- written by swift push -->"
"""Stands in the cards that are ours: another's card is never written over."""

Bytes: TypeAlias = Path | bytes
"""A file of the disk, or what was written for the hub alone."""

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Files for one repository: they are seen there by one commit, or not at all."""

    ref: Ref
    """Where to; its revision is a branch, "" for the hub's main one."""

    files: Mapping[str, Bytes]
    """By their paths in the repository."""

    message: str
    """Of the commit."""

    private: bool = False
    """Whether a repository that is made for it is private."""

    def without(self, paths: Sequence[str]) -> Parcel:
        """Return the parcel without some of its files."""
        return replace(self, files={p: f for p, f in self.files.items() if p not in paths})


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did."""

    url: str
    """Where people see it."""

    sent: tuple[str, ...]
    """Paths that the commit holds."""

    same: tuple[str, ...] = ()
    """Paths that the hub had already, byte for byte."""

    kept: tuple[str, ...] = ()
    """Paths of the hub that another wrote, which stay as they are."""

    commit: str = ""
    """Its sha; "" where the hub does not tell, or nothing was to be done."""


@contextmanager
def opened(source: Bytes) -> Iterator[IO[bytes]]:
    """Open what goes up for reading.

    Raises:
        UserError: It cannot be read.
    """
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise unreadable(source, error) from error
    with file:
        yield file


def unreadable(source: Path, error: OSError) -> UserError:
    """Return the error of a file that cannot be read."""
    what = f"{source} cannot be read: {error.strerror or error}"
    return UserError(Problem(what=what, fix="mend its permissions"))


def size_of(source: Bytes) -> int:
    """Return how many bytes go up."""
    try:
        return len(source) if isinstance(source, bytes) else source.stat().st_size
    except OSError as error:
        raise unreadable(Path(str(source)), error) from error


def digest_of(source: Bytes, check: Check = "sha256") -> str:
    """Return the sha256 of the bytes, or the sha1 that git gives them."""
    total = hashlib.sha256()
    if check == "git-sha1":
        total = hashlib.sha1(b"blob %d\0" % size_of(source), usedforsecurity=False)
    with opened(source) as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def is_same(source: Bytes, there: File) -> bool:
    """Return whether a hub's file has these very bytes; unknown counts as no."""
    if not there.check or size_of(source) != there.size:
        return False
    return digest_of(source, there.check) == there.digest
