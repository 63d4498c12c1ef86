"""Which reader fits a file: what its bytes are counts, and where its name says else, that is said.

A table or a packed file under another name is read as what it is; what is not read at all is
refused with the way to make it readable.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from swift.core.errors import DataError, Problem
from swift.dataset.readers import Reader, reader_of, readers, suffix_of, suffixes
from swift.dataset.readers.kind import PACKINGS, TABLES, Kind, is_text, kind_of
from swift.dataset.readers.opened import PACKED


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How a file is read."""

    reader: Reader

    otherwise: str = ""
    """What it is read as, where its name says another thing: "gzip"; "" where it does not."""


def fitting(path: Path) -> Fitting:
    """Return how a file is read.

    Raises:
        DataError: It is of no kind that is read.
        OSError: It cannot be opened.
    """
    named = known(path)
    if suffix_of(path) in readers.foreign():
        return Fitting(reader=named)  # a plug-in knows its own files
    kind = kind_of(path)
    if kind in TABLES:
        found = readers.get(kind.suffix) or named
        return Fitting(reader=found, otherwise=kind.name if found.read != named.read else "")
    if kind in PACKINGS:
        return _packed(path, named, kind)
    if kind is not None:
        fix = kind.fix.format(path=shlex.quote(str(path)))
        raise DataError(Problem(where=str(path), what=f"it is {kind.name}, no rows", fix=fix))
    if not named.packed and is_text(path):
        raise _text(path)
    plain = path.suffix.lower() in PACKED and is_text(path)
    said = named.otherwise(path) if named.otherwise else ""
    return Fitting(reader=named, otherwise=", ".join(filter(None, ("not packed" * plain, said))))


def known(path: Path) -> Reader:
    """Return the reader that a file's name asks for.

    Raises:
        DataError: There is none; says which there are.
    """
    found = reader_of(path)
    if found is not None:
        return found
    packed = path.suffix.lower() in PACKED
    inside = path.with_suffix("").suffix if packed else path.suffix
    what = f"`{inside or path.name}` is no kind of file that is read"
    fix = f"one of {', '.join(suffixes())}, also with {', '.join(PACKED)}"
    if packed and inside in suffixes():
        what = f"a `{inside}` file is not read while it is packed as `{path.suffix}`"
        fix = f"unpack it: it is compressed inside already ({path.with_suffix('').name})"
    raise DataError(Problem(where=str(path), what=what, fix=fix))


def _packed(path: Path, named: Reader, kind: Kind) -> Fitting:
    if named.packed:
        said = named.otherwise(path) if named.otherwise else ""
        misnamed = kind.name * (path.suffix.lower() != kind.suffix)
        return Fitting(reader=named, otherwise=", ".join(filter(None, (misnamed, said))))
    what = f"its name says `{path.suffix}`, but it is packed as {kind.name}"
    fix = f"unpack it: {_move(path, path.name + kind.suffix)}, and then what unpacks {kind.suffix}"
    raise DataError(Problem(where=str(path), what=what, fix=fix))


def _text(path: Path) -> DataError:
    with path.open("rb") as file:
        first = file.read(64).lstrip()[:1]
    suffix = {b"{": ".jsonl", b"[": ".json"}.get(first, ".csv")
    what = f"its name says `{path.suffix}`, but it is text"
    fix = f"name it by what it is: {_move(path, path.with_suffix(suffix).name)}"
    return DataError(Problem(where=str(path), what=what, fix=fix))


def _move(path: Path, name: str) -> str:
    return f"mv {shlex.quote(str(path))} {shlex.quote(str(path.with_name(name)))}"
