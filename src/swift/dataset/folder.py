"""Which files of a folder hold which part of which subset: as hubs lay out their data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from swift.core.errors import DataError, Problem
from swift.core.near import nearest_of
from swift.core.yaml import parse
from swift.dataset.readers import reader_of

Parts: TypeAlias = Mapping[str, tuple[Path, ...]]
"""Name of a part ("train", "validation", "test", ...) -> its files, in order."""

ALL = "all"
"""The word for every subset of a data set."""

_CARDS = frozenset({"configuration.json", "dataset_info.json", "dataset_infos.json", "state.json"})
_CARDS |= {"dataset_dict.json"}
"""Files that hubs and libraries put beside the rows."""

_PARTS = {"train": "train", "training": "train"}
_PARTS |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
_PARTS |= dict.fromkeys(("test", "testing", "eval", "evaluation"), "test")
"""Words in names of files, and the part that they mean."""


def parts_of(folder: Path, subsets: Sequence[str] = ()) -> Parts:
    """Return the files with rows in a folder, by part; {} where there are none.

    They are what the folder's card (`configs` in README.md) says; else what lies at its top, in
    `data`, or in its only subfolder that has rows. A folder of `save_to_disk` has what it lists.

    Args:
        folder: The data set.
        subsets: Which of its subsets; `all` for every one; () for the default one.

    Raises:
        DataError: It has no such subset, or has several and none is the default.
    """
    saved = _saved(folder)
    if saved:
        return saved
    known = _card(folder)
    if not subsets:
        return _default(folder, known)
    named = [name for name in known if name] or _inside(folder)
    names = named if ALL in subsets else subsets
    found = [known[name] if name in known else _subset(folder, name) for name in names]
    for name, parts in zip(names, found, strict=True):
        if not parts:
            raise _no_subset(name, named)
    keys = dict.fromkeys(key for parts in found for key in parts)
    return {k: tuple(path for parts in found for path in parts.get(k, ())) for k in keys}


def part_in(path: Path) -> str:
    """Return the part that a file's name says it is of; "" where it says nothing."""
    words = re.findall("[a-z]+", path.name.lower())
    return next((_PARTS[word] for word in words if word in _PARTS), "")


def _default(folder: Path, known: Mapping[str, Parts]) -> Parts:
    if known:
        named = [name for name in known if name]
        default = next((n for n in ("", "default", *named[: len(named) == 1]) if n in known), None)
        if default is None:
            raise _which(named)
        return known[default]
    for place in (folder, folder / "data"):
        if parts := _at(place):
            return parts
    inside = _inside(folder)
    if len(inside) > 1:
        raise _which(inside)
    return _subset(folder, inside[0]) if inside else {}


def _at(place: Path) -> Parts:
    """Return the files that lie in a folder itself, or in its folders `train`, `test`, ..."""
    files = rows_among(_listed(place))
    if files:
        return _sorted_out((part_in(path) or "train", path) for path in files)
    folders = [path for path in _listed(place) if path.name.lower() in _PARTS and path.is_dir()]
    inside = ((part_in(p), file) for p in folders for file in rows_among(_listed(p)))
    return _sorted_out(inside)


def _subset(folder: Path, name: str) -> Parts:
    """Return the files of the subfolder `name`, or those whose names begin with `name`."""
    tops = (folder, folder / "data")
    for place in (path for top in tops for path in _listed(top)):
        if place.name.casefold() == name.casefold() and place.is_dir() and (parts := _at(place)):
            return parts
    begins = re.compile(re.escape(name.casefold()) + r"(?![a-z0-9])")
    for top in tops:
        files = [p for p in rows_among(_listed(top)) if begins.match(p.name.casefold())]
        if files:
            return _sorted_out((part_in(Path(p.name[len(name) :])) or "train", p) for p in files)
    return {}


def _inside(folder: Path) -> list[str]:
    """Return the names of the subfolders (or those of `data`) that hold rows."""
    for top in (folder, folder / "data"):
        found = [p.name for p in _listed(top) if p.is_dir() and p.name != "data" and _at(p)]
        if found:
            return found
    return []


def rows_among(paths: Iterable[Path]) -> list[Path]:
    """Return the files that hold rows; prose only where there is no table, cards never."""
    readers = {p: reader_of(p) for p in paths if p.name not in _CARDS and p.is_file()}
    tables = [path for path, found in readers.items() if found and not found.prose]
    return tables or [path for path, found in readers.items() if found]


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _sorted_out(files: Iterable[tuple[str, Path]]) -> Parts:
    found: dict[str, list[Path]] = {}
    for part, path in files:
        found.setdefault(part, []).append(path)
    return {part: tuple(paths) for part, paths in found.items()}


def _saved(folder: Path) -> Parts:
    """Return the files that `save_to_disk` lists, in its order; {} for any other folder."""
    parts = _json(folder / "dataset_dict.json").get("splits")
    if isinstance(parts, list):
        each = {str(p): _saved(folder / str(p)) for p in parts if _plain(str(p))}
        return {p: files["train"] for p, files in each.items() if files}
    listed = _json(folder / "state.json").get("_data_files")
    names = [item.get("filename") for item in listed or () if isinstance(item, dict)]
    files = tuple(folder / name for name in names if isinstance(name, str) and _plain(name))
    return {"train": files} if files else {}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _card(folder: Path) -> Mapping[str, Parts]:
    """Return subset -> parts, as `configs` at the head of README.md says; {} if it does not.

    The default subset stands under "" too.
    """
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    head = re.match(r"\s*---\r?\n(.*?\n)---", text, re.DOTALL)
    block = re.search(r"^configs:.*\n((?:[ \-].*\n|\r?\n)*)", head[1] if head else "", re.MULTILINE)
    said = parse(block[0], name="README.md").tree.get("configs") if block else None
    found: dict[str, Parts] = {}
    for config in said if isinstance(said, list) else ():
        if isinstance(config, dict) and isinstance(config.get("config_name"), str):
            parts = _sorted_out(_globbed(folder, config))
            if parts:
                found[config["config_name"]] = parts
                if config.get("default") is True:
                    found[""] = parts
    return found


def _globbed(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield (part, file) of what a card's `data_files` name."""
    base = config.get("data_dir")
    top = folder / base if isinstance(base, str) and _plain(base) else folder
    said = config.get("data_files", "*")
    for item in said if isinstance(said, list) else [said]:
        part = str(item.get("split", "train")) if isinstance(item, dict) else ""
        paths = item.get("path", item.get("pattern")) if isinstance(item, dict) else item
        for pattern in paths if isinstance(paths, list) else [paths]:
            if isinstance(pattern, str) and _plain(pattern):
                for path in rows_among(sorted(top.glob(pattern))):
                    yield part or part_in(path) or "train", path


def _plain(path: str) -> bool:
    """Return whether a path that a file names stays in its folder."""
    return bool(path) and not path.startswith("/") and ".." not in Path(path).parts


def _which(names: Sequence[str]) -> DataError:
    what = f"the data set has several subsets: {_some(names)}"
    fix = f"write NAME:{names[0]}, or NAME:{ALL}"
    return DataError(Problem(where="dataset", what=what, fix=fix))


def _no_subset(name: str, names: Sequence[str]) -> DataError:
    near = nearest_of(name.casefold(), {n.casefold(): n for n in names}) if len(name) > 3 else ()
    what = f"the data set has no subset `{name}`; it has {_some(names)}"
    fix = f"write `{near[0]}`" if near else "leave the subset out" if not names else "one of those"
    return DataError(Problem(where="dataset", what=what, fix=fix))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") or "none at all"
