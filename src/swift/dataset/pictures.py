"""A folder of pictures, films or recordings with what is said of each, as rows.

Either `metadata.jsonl` or `metadata.csv` names them (a column file_name, and what a task reads), or
`x.jpg` stands beside `x.txt` (its text) or `x.json` (its columns, or a list of such).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swift.chat.message import MEDIA
from swift.core.errors import DataError, MachineError, Problem
from swift.dataset.raw import Raw
from swift.dataset.readers import reader_of

_KINDS = {
    "image": ".jpg .jpeg .png .webp .bmp .gif .tif .tiff",
    "video": ".mp4 .mkv .mov .avi .webm",
    "audio": ".wav .mp3 .flac .ogg .m4a .opus",
}
_SUFFIXES = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes.split()}
_TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_BOTH = (
    "metadata.jsonl or metadata.csv in it with the columns file_name, question and answer (or "
    "file_name and text); or x.txt or x.json beside each x.jpg"
)


def pictures(folder: str | Path) -> Iterator[Raw]:
    """Yield a row for each picture, film or recording of a folder, and of the folders in it.

    A path in a row is as seen from the folder. One that nothing is said of is a Raw without a row.

    Raises:
        DataError: There is no such folder, nothing in it, or nothing said of what is in it.
        MachineError: It may not be read.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = f"there is no folder {root}"
        raise DataError(Problem(where="data.image_folder", what=what, fix="give the path of one"))
    try:
        found = _files(root)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise MachineError(Problem(where=str(root), what=what)) from error
    tables = [path for path in found if path.name in _TABLES]
    media = [path for path in found if path.suffix.lower() in _SUFFIXES]
    if not media:
        known = " ".join(_KINDS.values())
        what = f"no picture, film or recording is in {root} ({known})"
        raise DataError(Problem(where="data.image_folder", what=what, fix="give another folder"))
    yield from _of_tables(root, tables, media) if tables else _of_neighbours(root, media)


def kind_of(path: str | Path) -> str:
    """Return whether a file is an image, a video or an audio, by its suffix; else ""."""
    return _SUFFIXES.get(Path(path).suffix.lower(), "")


def _files(root: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found = []
    for folder, inner, names in os.walk(root, onerror=fail):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _of_tables(root: Path, tables: Sequence[Path], media: Sequence[Path]) -> Iterator[Raw]:
    named: set[Path] = set()
    for table in tables:
        reader = reader_of(table)
        assert reader is not None  # of every name in _TABLES
        for raw in reader.read(table):
            name = raw.row.get("file_name") if raw.row else None
            if raw.row is None:
                yield raw
            elif not isinstance(name, str) or not name:
                yield Raw(row=None, origin=raw.origin, trouble="no-file-name")
            else:
                path = table.parent / name
                named.add(path)
                yield _row(root, path, raw.row, raw.origin)
    if not named:
        what = f"{tables[0]} names no file: it has no column file_name"
        raise DataError(Problem(where="data.image_folder", what=what, fix=_BOTH))
    for path in media:
        if path not in named:
            yield _unsaid(root, path)


def _of_neighbours(root: Path, media: Sequence[Path]) -> Iterator[Raw]:
    beside = [path for path in media if _beside(path)]
    if not beside:
        what = f"{root} has {len(media)} pictures or recordings, and nothing is said of them"
        raise DataError(Problem(where="data.image_folder", what=what, fix=_BOTH))
    for path in media:
        said = _beside(path)
        if said is None:
            yield _unsaid(root, path)
        elif said.suffix == ".txt":
            yield _of_text(root, path, said)
        else:
            yield from _of_json(root, path, said)


def _beside(path: Path) -> Path | None:
    names = (path.with_suffix(suffix) for suffix in (".json", ".txt"))
    return next((name for name in names if name.is_file()), None)


def _of_text(root: Path, path: Path, said: Path) -> Raw:
    origin = str(said.relative_to(root))
    try:
        text = said.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        return Raw(row=None, origin=origin, trouble="not-utf-8")
    return _row(root, path, {"text": text}, origin)


def _of_json(root: Path, path: Path, said: Path) -> Iterator[Raw]:
    origin = str(said.relative_to(root))
    try:
        tree: Any = json.loads(said.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        yield Raw(row=None, origin=origin, trouble="not-utf-8")
        return
    except (ValueError, RecursionError):
        yield Raw(row=None, origin=origin, trouble="broken-line")
        return
    several = isinstance(tree, list)
    for number, row in enumerate(tree if several else [tree], 1):
        where = f"{origin}:{number}" if several else origin
        if isinstance(row, dict):
            yield _row(root, path, row, where)
        else:
            yield Raw(row=None, origin=where, trouble="broken-line")


def _row(root: Path, path: Path, row: dict[str, Any], origin: str) -> Raw:
    kind = kind_of(path) or MEDIA[0]
    kept = {name: value for name, value in row.items() if name != "file_name"}
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return Raw(row={kind: name, **kept}, origin=origin)


def _unsaid(root: Path, path: Path) -> Raw:
    return Raw(row=None, origin=path.relative_to(root).as_posix(), trouble="nothing-said")
