"""The bytes of one file: fetched from where the last try ended, and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial as bound
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from swift.core.errors import MachineError, Problem
from swift.core.files import cannot_write, sync_file
from swift.hub.progress import Tally
from swift.hub.ref import File
from swift.hub.web import Beyond, Cut, Gained, Unreachable, Web

_CHUNK = 1 << 20
"""Most bytes read at once; each chunk is written before the next is read."""

_WORTH = 1 << 16
"""Bytes that a try must bring so that a cut after them counts as no failure."""

_WRONG = 3
"""Times that a whole file may have the wrong bytes."""


def bring(
    file: File, address: str, headers: Mapping[str, str], partial: Path, web: Web, tally: Tally
) -> None:
    """Leave the checked bytes of `file` in `partial`, on the disk, going on after what is there.

    `partial` is named by the content's digest, and the whole is checked at the end: that the bytes
    of an earlier try belong to this file needs no word of the server.

    Raises:
        MachineError: The bytes were wrong each time, or cannot be written.
        Refused: The hub says no.
        Unreachable: It does not answer, or was told to stop.
    """
    for failures in range(_WRONG):
        if failures:
            tally.note(f"{file.path}: its bytes are not those that the hub names; fetched again")
        with _Sink(file, partial, tally) as sink:
            if sink.at < file.size:
                web.patiently(bound(_once, sink, address, headers, web), tally.note)
            if sink.finish():
                return
        partial.unlink(missing_ok=True)
        tally.add(-file.size)
    what = f"{file.path} came with wrong bytes {_WRONG} times ({file.check} is not {file.digest})"
    fix = "try later or another hub: its copy, or a proxy's on the way, is corrupt"
    raise MachineError(Problem(where=address.split("?")[0], what=what, fix=fix))


def right(path: Path, file: File, *, deep: bool) -> bool:
    """Return whether `path` holds `file`: by its size or, if `deep`, by its bytes."""
    try:
        if path.stat().st_size != file.size:
            return False
        if not deep or not file.check:
            return True
        total = _begun(file)
        with path.open("rb") as bytes:
            while chunk := bytes.read(_CHUNK):
                total.update(chunk)
        return total.hexdigest() == file.digest
    except OSError:
        return False


def _begun(file: File) -> hashlib._Hash:
    if file.check == "git-sha1":
        return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    return hashlib.sha256()


class _Sink:
    """A file that grows; what was written is there after a kill."""

    def __init__(self, file: File, path: Path, tally: Tally) -> None:
        self.at = 0
        self._wanted, self._path, self._tally = file, path, tally
        self._total = _begun(file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._file = path.open("r+b", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error
        if path.stat().st_size > file.size:
            self._file.truncate(0)
        while chunk := self._file.read(_CHUNK):
            self._count(chunk)

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Append bytes, but none beyond the file's size."""
        chunk = chunk[: self._wanted.size - self.at]
        try:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._count(chunk)

    def rewind(self) -> None:
        """Begin at the first byte; what is there stays until it is written over."""
        self._tally.add(-self.at)
        self._file.seek(0)
        self.at, self._total = 0, _begun(self._wanted)

    def finish(self) -> bool:
        """Bring the bytes onto the disk, and return whether they are the right ones."""
        sync_file(self._file.fileno())
        return not self._wanted.check or self._total.hexdigest() == self._wanted.digest

    def _count(self, chunk: bytes) -> None:
        self.at += len(chunk)
        self._total.update(chunk)
        self._tally.add(len(chunk))

    @property
    def size(self) -> int:
        """Bytes that the whole file has."""
        return self._wanted.size


def _once(sink: _Sink, address: str, headers: Mapping[str, str], web: Web) -> None:
    """Ask for what is missing, and write what comes."""
    try:
        answer = web.open(address, headers, sink.at)
    except Beyond:
        sink.rewind()
        raise
    with answer:
        _agree(answer, sink)
        begin = sink.at
        why = "the connection was cut"
        while sink.at < sink.size:
            if web.stop.is_set():
                raise Unreachable("stopped")
            try:
                chunk = answer.read1(_CHUNK)
            except (OSError, HTTPException, ValueError) as error:
                why, chunk = f"the connection was cut ({error or type(error).__name__})", b""
            if not chunk:
                break
            sink.write(chunk)
    if sink.at < sink.size:
        gained = sink.at - begin >= _WORTH
        raise (Gained if gained else Cut)(f"{why} at byte {sink.at:,} of {sink.size:,}")


def _agree(answer: HTTPResponse, sink: _Sink) -> None:
    """See that the answer is the part that was asked for, or the whole: then begin anew."""
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range") or "")
    if answer.status == 206:
        if not said or int(said[1]) != sink.at or said[2] not in (str(sink.size), "*"):
            got = answer.headers.get("Content-Range")
            if said and int(said[1]) == sink.at:
                sink.rewind()
            raise Cut(f"the hub sends another part than was asked for: {got}")
        return
    length: int | None = None
    with suppress(ValueError):
        length = int(answer.headers.get("Content-Length") or "")
    if length is not None and length != sink.size:
        raise Cut(f"the hub sends {length:,} bytes instead of {sink.size:,}")
    if sink.at:
        sink.rewind()
