"""JSON: a list of rows, or a map with the list under `data`, read row by row."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swift.core.errors import DataError, Problem
from swift.dataset.raw import Raw, checked
from swift.dataset.readers import lines
from swift.dataset.readers.opened import LONGEST, opened_text

_CHUNK = 1 << 16
"""Letters read at once; more where one row is longer."""

_EDGE = 12
"""A mistake this near to the end of what was read may be only that: the end ("-Infinit")."""

_SPACE = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode


def read(path: Path) -> Iterator[Raw]:
    """Yield the rows; a file of one object a line is read as such, as hubs have many.

    Raises:
        DataError: It is no JSON, or neither of the two; says the line.
        UnicodeDecodeError: It is not UTF-8.
    """
    if _is_lines(path):
        yield from lines.read(path)
        return
    with opened_text(path) as file:
        text = _Text(io.TextIOWrapper(file, encoding="utf-8", newline=""), path)
        first = text.peek()
        if not first:
            return
        rows = text.items() if first == "[" else _under_data(text) if first == "{" else None
        if rows is None:
            text.value()
            raise _neither(path)
        for number, row in enumerate(rows, 1):
            yield checked(row, f"{path.name}:{number}")
        if text.peek():
            raise text.bad("something follows its end")


def _under_data(text: _Text) -> Iterator[Any]:
    """Yield the items of the list under `data`; the map's other values are passed over."""
    found = False
    text.take("{")
    while text.peek() != "}":
        key = text.value() if text.peek() == '"' else None
        if not isinstance(key, str):
            raise text.bad("a key in quotation marks should stand here")
        text.take(":")
        if key == "data" and text.peek() == "[":
            found = True
            yield from text.items()
        else:
            text.value()
        if text.peek() != "}":
            text.take(",")
    text.take("}")
    if not found:
        raise _neither(text.path)


def _neither(path: Path) -> DataError:
    what = "neither a list of rows nor a map with `data: [...]`"
    return DataError(Problem(where=str(path), what=what))


def _is_lines(path: Path) -> bool:
    """Return whether the file's first line is a whole object, and another begins after it."""
    with opened_text(path) as file:
        if not file.peek(64).lstrip().startswith(b"{"):
            return False
        first = file.readline(LONGEST)
        while first.isspace():
            first = file.readline(LONGEST)
        more = next((line for line in iter(lambda: file.readline(64), b"") if line.strip()), b"")
    if not more.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


class _Text:
    """A text of which only the part around the next value is held."""

    def __init__(self, file: io.TextIOWrapper, path: Path) -> None:
        self._file, self.path = file, path
        self._held, self._at, self._line = "", 0, 1

    def peek(self) -> str:
        """Return the next letter that is no space; "" at the end."""
        while True:
            found = _SPACE.match(self._held, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def take(self, letter: str) -> None:
        """Pass over `letter`, which must come next."""
        if self.peek() != letter:
            raise self.bad(f"`{letter}` should stand here")
        self._at += 1

    def items(self) -> Iterator[Any]:
        """Yield the values of the list that begins here."""
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.take(",")
                if self.peek() == "]":
                    raise self.bad("a value should stand after the comma")
        self.take("]")

    def value(self) -> Any:
        """Return the value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _decode(self._held, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos + _EDGE >= len(self._held) or error.msg.startswith("Unterminated")
                if not cut or not self._more():
                    raise self.bad(error.msg, error.pos) from error
                continue
            except RecursionError as error:
                raise self.bad("nested too deeply") from error
            except ValueError as error:
                raise self.bad("a number of thousands of digits is not read") from error
            open_end = isinstance(value, int | float) and end + _EDGE > len(self._held)
            if open_end and self._more():
                continue  # more digits may follow
            self._at = end
            return value

    def bad(self, why: str, at: int | None = None) -> DataError:
        """Return the error of a mistake at letter `at` of what is held, or here."""
        line = self._line + self._held.count("\n", 0, self._at if at is None else at)
        fix = "one row a line? call it .jsonl"
        where = f"{self.path}:{line}"
        return DataError(Problem(where=where, what=f"no JSON: {why}", fix=fix))

    def _more(self) -> bool:
        """Read as much again as is held, but let go of what is done; False at the end."""
        rest = len(self._held) - self._at
        if rest > LONGEST:
            raise self.bad(f"one row is longer than {LONGEST >> 20} MiB")
        more = self._file.read(max(_CHUNK, rest))
        if not more:
            return False
        self._line += self._held.count("\n", 0, self._at)
        self._held, self._at = self._held[self._at :] + more, 0
        return True
