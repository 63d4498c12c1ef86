"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file that its first bytes tell."""

    name: str
    """For people: "gzip"."""

    head: bytes
    """How such a file begins."""

    suffix: str = ""
    """How its name should end; "" for what is not read."""

    tail: bytes = b""
    """How it ends, where its beginning might be that of a text."""

    fix: str = ""
    """How it becomes one that is read, if it is not read itself."""


PACKINGS = (
    Kind(name="gzip", head=b"\x1f\x8b\x08", suffix=".gz"),
    Kind(name="bzip2", head=b"BZh", suffix=".bz2"),
    Kind(name="xz", head=b"\xfd7zXZ\0", suffix=".xz"),
    Kind(name="zstandard", head=b"\x28\xb5\x2f\xfd", suffix=".zst"),
)
"""What is unpacked on the way."""

TABLES = (
    Kind(name="Parquet", head=b"PAR1", suffix=".parquet", tail=b"PAR1"),
    Kind(name="Arrow", head=b"ARROW1\0\0", suffix=".arrow", tail=b"ARROW1"),
    Kind(name="Arrow", head=b"\xff\xff\xff\xff", suffix=".arrow"),
)
"""What is read as columns."""

_UNZIP = "unpack it, and name what is inside"
_CONVERT = "export its rows as .jsonl, .csv or .parquet"
OTHERS = (
    Kind(name="a zip archive or an Office file", head=b"PK\x03\x04", fix=_UNZIP),
    Kind(name="a 7z archive", head=b"7z\xbc\xaf\x27\x1c", fix=_UNZIP),
    Kind(name="a rar archive", head=b"Rar!\x1a\x07", fix=_UNZIP),
    Kind(name="lz4", head=b"\x04\x22\x4d\x18", fix="lz4 -d {path}"),
    Kind(name="a PDF file", head=b"%PDF-", fix="give its text as .txt"),
    Kind(name="a SQLite database", head=b"SQLite format 3\0", fix=_CONVERT),
    Kind(name="an HDF5 file", head=b"\x89HDF\r\n\x1a\n", fix=_CONVERT),
    Kind(name="a NumPy array", head=b"\x93NUMPY", fix=_CONVERT),
    Kind(name="a pickle", head=b"\x80\x04\x95", fix=_CONVERT),
    Kind(name="a PNG picture", head=b"\x89PNG\r\n\x1a\n", fix="data.image_folder names pictures"),
    Kind(name="a JPEG picture", head=b"\xff\xd8\xff", fix="data.image_folder names pictures"),
)
"""What people take for rows, and is not read."""

_HEAD = 16
_SOME = 4096
_BZIP2 = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
"""What follows BZh and a digit: a block, or the end of an empty file."""


def kind_of(path: Path) -> Kind | None:
    """Return what a file's bytes say that it is; None for what may be text.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        for kind in (*PACKINGS, *TABLES, *OTHERS):
            if head.startswith(kind.head) and (kind.suffix != ".bz2" or head[4:10] in _BZIP2):
                if not kind.tail:
                    return kind
                file.seek(-len(kind.tail), 2)
                if file.read() == kind.tail:
                    return kind
    return None


def packing_of(path: Path) -> str:
    """Return the suffix of what a file is packed as; "" for none.

    A file whose name says that it is packed, and which is no text, is taken at its word.

    Raises:
        OSError: It cannot be read.
    """
    kind = kind_of(path)
    if kind in PACKINGS:
        return kind.suffix
    said = path.suffix.lower()
    packed = any(said == kind.suffix for kind in PACKINGS)
    return said if packed and kind is None and not is_text(path) else ""


def is_text(path: Path) -> bool:
    """Return whether a file begins as text in UTF-8 does, and not as half a table does.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_SOME)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(head) and b"\0" not in head and not head.startswith((b"PAR1", b"ARROW1"))
