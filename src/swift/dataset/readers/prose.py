"""Plain text: a file is one document, or its lines or paragraphs are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from swift.core.errors import DataError, Problem
from swift.dataset.raw import Raw
from swift.dataset.readers.opened import limited, opened_text

DOCUMENTS = ("file", "paragraph", "line")
"""What may be one document."""

_WHOLE = 1 << 24
"""Bytes of the largest file that is one document: what is larger holds several."""


def read(path: Path, documents: str = "file") -> Iterator[Raw]:
    """Yield the documents of a file as rows with the column `text`; blank ones are none.

    Args:
        path: The file.
        documents: What is one: "file", "paragraph" (between blank lines) or "line".

    Raises:
        DataError: A file of more than 16 MiB is to be one document.
        UnicodeDecodeError: It is not UTF-8.
    """
    cut = {"file": _whole, "paragraph": _paragraphs, "line": _lines}[documents]
    with opened_text(path) as file:
        for number, text in cut(file, path):
            yield Raw(row={"text": text}, origin=f"{path.name}:{number}")


def _whole(file: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    data = file.read(_WHOLE + 1)
    if len(data) > _WHOLE:
        what = f"it is larger than {_WHOLE >> 20} MiB, so it is not one document"
        fix = f"say what is one: dataset: {{name: {path}, documents: paragraph}} (or line)"
        raise DataError(Problem(where=str(path), what=what, fix=fix))
    if not data.isspace() and data:
        yield 1, data.decode()


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(iter(limited(file), b""), 1):
        if not line.isspace():
            yield number, line.decode().rstrip("\r\n")


def _paragraphs(file: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    held: list[str] = []
    first = 1
    for number, line in enumerate(iter(limited(file), b""), 1):
        if not line.isspace():
            first = first if held else number
            held.append(line.decode())
        elif held:
            yield first, "".join(held).rstrip("\r\n")
            held = []
    if held:
        yield first, "".join(held).rstrip("\r\n")
