"""JSON lines: one object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pydantic_core import from_json

from swift.dataset.raw import Raw, checked
from swift.dataset.readers.opened import LONGEST, limited, opened_text

_LIST = re.compile(rb"\[\s*\{")
"""How a list of rows begins; a row among lines never does so."""


def read(path: Path) -> Iterator[Raw]:
    """Yield one Raw for every line that is not blank.

    A line that is not UTF-8 is a reject in a file that was seen to be UTF-8 by an earlier line;
    else the whole file is in something else.

    A file that is one list of rows is read as such.

    Raises:
        UnicodeDecodeError: The whole file is in something else.
        DataError: It is a list, and breaks.
    """
    if otherwise(path):
        from swift.dataset.readers import listed

        yield from listed.read(path)
        return
    seen = False
    with opened_text(path) as file:
        for number, line in _numbered(file):
            origin = f"{path.name}:{number}"
            if len(line) >= LONGEST:
                yield Raw(row=None, origin=origin, trouble="line-too-long")
                continue
            if (quick := _quick(line)) is not None:
                seen = seen or not line.isascii()
                yield checked(quick, origin)
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError:
                if not seen:
                    raise
                yield Raw(row=None, origin=origin, trouble="not-utf-8")
                continue
            seen = seen or not line.isascii()
            yield checked(_parsed(text), origin)


def count(path: Path) -> int:
    """Return how many Raws `read` yields, without parsing."""
    if otherwise(path):
        return sum(1 for _ in read(path))
    with opened_text(path) as file:
        return sum(1 for _ in _numbered(file))


def otherwise(path: Path) -> str:
    """Return what a file is that is no lines of JSON: one list of rows; "" for lines."""
    with opened_text(path) as file:
        line = next((line for _, line in _numbered(file)), b"").strip()
    is_list = line == b"[" or (_LIST.match(line) and line.endswith((b"]", b",", b"{")))
    return "a JSON list" if is_list else ""


def _numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers; of one too long only the beginning."""
    readline = limited(file)
    for number, line in enumerate(iter(readline, b""), 1):
        if len(line) >= LONGEST and not line.endswith(b"\n"):
            while (rest := readline()) and not rest.endswith(b"\n"):
                pass
        if not line.isspace():
            yield number, line


def _quick(line: bytes) -> Any:
    """Return what a line of UTF-8 says, in half the time of `json`; None where that must tell."""
    try:
        return from_json(line)
    except ValueError:
        return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
