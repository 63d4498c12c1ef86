"""A file's bytes, unpacked on the way where they are compressed."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from swift.core.errors import DataError, Problem
from swift.dataset.readers.kind import packing_of

LONGEST = 1 << 28
"""Bytes of the longest line that is read: what is longer is no row, and would fill the memory."""

_AT_ONCE = 1 << 20
"""Bytes that are unpacked at once."""


class ArchiveError(OSError):
    """A compressed file that cannot be unpacked, from here on."""


class _Unpacked(io.RawIOBase):
    """What is in a compressed file; every codec's complaint becomes a ArchiveError."""

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inside.read(min(len(buffer), _AT_ONCE))
        except OSError as error:
            if error.errno is not None:
                raise  # the disk's, not the file's
            raise ArchiveError(str(error)) from error
        except (EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise ArchiveError(str(error)) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inside.close()
        super().close()


def _zstd(path: Path) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(str(path), "zstd")


PACKED: Mapping[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstd,
}
"""Suffixes of compressed files, and what opens them."""


def opened(path: Path) -> io.BufferedReader:
    """Return the unpacked bytes of a file.

    Raises:
        OSError: It cannot be opened; later a ArchiveError, where it cannot be unpacked.
    """
    unpack = PACKED.get(packing_of(path))
    if unpack is None:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(unpack(path)), _AT_ONCE)


def opened_text(path: Path) -> io.BufferedReader:
    """Return the unpacked bytes of a file of text, after its byte order mark.

    Raises:
        DataError: It is in UTF-16 or UTF-32.
    """
    file = opened(path)
    try:
        head = file.peek(4)[:4]
        if (meant := _wide(head)) is not None:
            raise _foreign(path, 1, meant)
        if head.startswith(codecs.BOM_UTF8):
            file.read(len(codecs.BOM_UTF8))
    except BaseException:
        file.close()
        raise
    return file


def not_utf8(path: Path) -> DataError:
    """Return the error that names the first line of a file that is not UTF-8, or no text at all."""
    with opened(path) as file:
        if b"\0" in file.read(_AT_ONCE):
            what = "it is no text: there are zero bytes in it"
            return DataError(Problem(where=str(path), what=what, fix="give a file of text"))
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with opened(path) as file:
        for chunk in iter(lambda: file.read(_AT_ONCE), b""):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                break
            line += chunk.count(b"\n")
    return _foreign(path, line, "GB18030")


def _foreign(path: Path, line: int, meant: str) -> DataError:
    inside = path.with_suffix("").name if path.suffix.lower() in PACKED else path.name
    fix = f"iconv -f {meant} -t UTF-8 {inside} (or from whatever it is in)"
    return DataError(Problem(where=f"{path}:{line}", what="not UTF-8", fix=fix))


def _wide(head: bytes) -> str | None:
    """Return the encoding of two or four bytes a letter that a file begins in, if it does."""
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE) or head.count(b"\0") == 3:
        return "UTF-32"
    marked = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "UTF-16" if marked or b"\0" in head[:2] else None


def limited(file: IO[bytes]) -> Callable[[], bytes]:
    """Return what reads a line, or the first LONGEST bytes of one."""
    return lambda: file.readline(LONGEST)
