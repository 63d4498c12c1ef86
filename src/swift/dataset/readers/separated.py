"""Tables as text: CSV, and TSV with tabs; the first line names the columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from swift.core.errors import DataError, Problem
from swift.dataset.raw import Raw
from swift.dataset.readers import suffix_of
from swift.dataset.readers.opened import opened_text

_LONGEST_CELL = 1 << 26
"""Letters of a cell; a quotation mark that is never closed would swallow the rest of the file."""

_LONGEST_NAME = 200
"""Letters of a column's name."""

_LONGEST_HEADER = 1 << 20
"""Bytes of a first line in which another separator is looked for."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
"""What may separate cells, and what it is called."""

_JSON = re.compile(r'[\ufeff\s]*(\{\s*"|\[\s*\{)')
"""How a first line begins that is JSON: with commas in it, it would pass for names."""

_ODD = re.compile("[\udc80-\udcff]")
"""A byte that is no UTF-8, as `surrogateescape` carries it."""


def read(path: Path) -> Iterator[Raw]:
    """Yield the rows of a table, each with its first line as number.

    A row with more or fewer cells than there are columns is a "ragged-row", one with quotation
    marks that do not match a "stray-quote"; one that is not UTF-8 is a reject in a file that was
    seen to be UTF-8. Semicolons, tabs or bars separate where the first line has only those.

    Raises:
        DataError: The first line does not name the columns.
        UnicodeDecodeError: The whole file is in something else than UTF-8.
    """
    csv.field_size_limit(_LONGEST_CELL)
    delimiter = _separator(path)
    with opened_text(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        records = _records(text, delimiter)
        names = _names(path, next(records, (1, None))[1])
        seen = False
        for number, cells in records:
            origin = f"{path.name}:{number}"
            if cells is None or len(cells) != len(names):
                trouble = "stray-quote" if cells is None else "ragged-row"
                yield Raw(row=None, origin=origin, trouble=trouble)
                continue
            joined = "".join(cells)
            if not joined.isascii():
                if _ODD.search(joined):
                    if not seen:
                        joined.encode("utf-8", "surrogateescape").decode()  # raises
                    yield Raw(row=None, origin=origin, trouble="not-utf-8")
                    continue
                seen = True
            yield Raw(row=dict(zip(names, cells, strict=True)), origin=origin)


def otherwise(path: Path) -> str:
    """Return what separates the cells of a file, where that is not what its name says."""
    found = _separator(path)
    return "" if found == _said(path) else f"separated by {_SEPARATORS[found]}"


def _said(path: Path) -> str:
    return "\t" if suffix_of(path) == ".tsv" else ","


def _separator(path: Path) -> str:
    """Return what separates the names in the first line: what the file's name says, if it does."""
    said = _said(path)
    line = _first(path)
    for found in (said, *_SEPARATORS):
        try:
            names = next(csv.reader([line], delimiter=found, strict=True), [])
        except csv.Error:  # a name that goes on in the next line, or none
            return said
        if len(names) > 1 and all(name.strip() for name in names):
            return found
        if found == said and len(names) > 1:
            return said
    return said


def _first(path: Path) -> str:
    with opened_text(path) as file:
        return file.readline(_LONGEST_HEADER).decode("utf-8", "replace")


def _records(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """Yield (first line, cells) of each record.

    Where quotation marks do not match, nobody knows what the lines are that a cell swallowed: each
    of them is a record of its own, with None for its cells.
    """
    lines = iter(partial(text.readline, _LONGEST_CELL), "")  # a line may be as long as the file
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # the reader goes on with the next line
            for line in range(number, reader.line_num + 1):
                yield line, None
            continue
        if cells:
            yield number, cells


def _names(path: Path, names: Sequence[str] | None) -> Sequence[str]:
    """Return the names of the columns, if they can be some; the first may be empty (an index)."""
    why, fix = "", "let the first line name the columns: query,response"
    if _JSON.match(_first(path)):
        why, fix = "the first line is JSON and no header", "JSON is read from .jsonl or .json"
    elif not names or not any(names):
        why = "the first line names no column"
    elif len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        why = f"the first line is no header: `{twice[:40]}` stands twice in it"
    elif any(len(name) > _LONGEST_NAME for name in names):
        why = f"the first line is no header: it has a cell of more than {_LONGEST_NAME} letters"
    elif all(_is_number(name) for name in names):
        why = "the first line is no header: it has numbers only"
    elif _ODD.search("".join(names)):
        "".join(names).encode("utf-8", "surrogateescape").decode()  # raises
    if why or not names:
        raise DataError(Problem(where=f"{path}:1", what=why, fix=fix))
    return names


def _is_number(name: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+(\.\d*)?\s*", name) is not None
