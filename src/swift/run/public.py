"""What of a user's files may be seen by others: no path of their machine, no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from swift.checkpoint import Card
from swift.core.env import cache_home, hub_root
from swift.core.env import hubs as hubs_of_environment
from swift.core.errors import DataError
from swift.core.files import path_of
from swift.dataset.readers import suffix_of, suffixes
from swift.dataset.said import readings
from swift.hub.shelf import name_of
from swift.model.hubs import refs_of
from swift.run.card import Base

_PRIVATE = ("serve", "engine", "output_dir", "parallel")
"""Parts of a recipe that say how a machine is used, not what was trained; one holds a key."""

_PATH = re.compile(
    r"(?:~|file://)?/[^\s/<>{}|]+(?:/[^\s/<>{}|]+)+/?"  # two names or more: `/s` may be a token
    r"|/(?:home|root|Users|mnt)/[^\n<>{}|]+"  # here with blanks too
    r"|[A-Za-z]:\\[^<>|]+\\[^<>|]+"
)
_RELATIVE = re.compile(r"(?:\.{1,2}|~)[/\\]\S+")
_LICENSE = re.compile(r"^license: *['\"]?([\w.-]+)['\"]? *$", re.MULTILINE)


def without_paths(tree: Any, told: set[str]) -> Any:
    """Return a tree of JSON in which every path of this machine has become its last name.

    Args:
        tree: What a file holds.
        told: Gets the paths that were replaced.
    """
    if isinstance(tree, dict):
        return {key: without_paths(value, told) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_paths(value, told) for value in tree]
    if not isinstance(tree, str) or (path := path_in(tree)) is None:
        return tree
    told.add(tree)
    return tree.replace(path, _last(path))


def _last(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else Path(path.rstrip("/")).name


def path_in(text: str) -> str | None:
    """Return what of a text is a path of this machine; None where nothing is.

    It may be a data set with what follows its path (`clients/acme.jsonl:part#10`). What is read as
    a file is a path wherever we stand: the run may have been started elsewhere.
    """
    if len(text) > 4096 or "\n" in text or not {"/", "\\"} & {*text}:
        return None
    return next((part for part in _parts(text) if _is_path(part)), None)


def _parts(text: str) -> list[str]:
    """Return what may be the path in a text, the shortest first."""
    parts = [text, text.partition("#")[0]]
    with suppress(DataError):
        parts += [said.stem for said in readings(text) if said.hub == "auto"]
    if text.partition("::")[0].casefold() in ("hf", "ms"):
        return []  # of a hub, whatever its name
    return sorted({part for part in parts if part}, key=len)


def _is_path(text: str) -> bool:
    if _PATH.fullmatch(text) or _RELATIVE.fullmatch(text):
        return True
    if suffix_of(Path(text.replace("\\", "/"))) in (*suffixes(), ".py") and "://" not in text:
        return True
    return "/" in text and bool(Path(text).name) and path_of(text) is not None


def public_card(card: Card, base: Base, told: set[str]) -> Card:
    """Return what swift.json may tell others: the base by its public name, a recipe of training."""
    said = card.model_dump(mode="json")
    said["recipe"] = {k: v for k, v in said["recipe"].items() if k not in _PRIVATE}
    plugins = [_named(one["said"], told) for one in said["plugins"]]
    said["plugins"] = [
        {"said": name, "digest": one["digest"]}
        for name, one in zip(plugins, said["plugins"], strict=True)
    ]
    if "plugins" in said["recipe"]:
        said["recipe"]["plugins"] = [_named(name, told) for name in said["recipe"]["plugins"]]
    clean = without_paths(said, told)
    return Card.model_validate({**clean, "model": base.id, "base": base.id})


def _named(plugin: str, told: set[str]) -> str:
    """Return the last name of a plug-in that is a file or a folder; a module's name is public."""
    if not {"/", "\\"} & {*plugin}:
        return plugin
    told.add(plugin)
    return _last(plugin)


def json_of(card: Card) -> str:
    """Return the text of a swift.json that others see: it tells no place of a plug-in."""
    hidden = {"plugins": {"__all__": {"place"}}}
    return card.model_dump_json(indent=2, exclude=hidden) + "\n"


def base_of(names: Iterable[str], folder: str, hub: str, revision: str) -> Base | None:
    """Return how others know a base model.

    Args:
        names: What it is called, the best first: a name, an id, a folder.
        folder: Where it is on this machine.
        hub: Where it is to be found: huggingface, modelscope, or folder.
        revision: Its commit, if known.
    """
    place = Path(folder).expanduser() if folder else None
    known = [name_of(place)] if place is not None else []
    for name in [*known, *names]:
        here = path_of(name)
        if name and not (here and here.is_dir()) and not Path(name).is_absolute():
            refs, part = refs_of(name)
            ref = refs.get(hub) or next(iter(refs.values()), None)
            if ref is not None and not part:
                native = place is None or not place.is_relative_to(cache_home())
                license = _license(place)
                return Base(
                    id=ref.id, public=True, native=native, revision=revision, license=license
                )
    if place is None and not [*names]:
        return None
    if (inside := _in_folder_hub(place)) and hub == "folder":
        return Base(id=inside, public=True, license=_license(place))
    bare = next((n for n in names if n and "/" not in n), "") or (place.name if place else "")
    return Base(id=bare, public=False, license=_license(place)) if bare else None


def _in_folder_hub(place: Path | None) -> str:
    root = hub_root()
    if root is None or place is None:
        return ""
    half = (root / "models").resolve()
    real = place.resolve()
    return str(real.relative_to(half)) if real.is_relative_to(half) else ""


def _license(place: Path | None) -> str:
    """Return the licence that the card of a model in `place` names; "" where it names none."""
    try:
        text = (place / "README.md").read_text(encoding="utf-8") if place else ""
    except (OSError, UnicodeDecodeError):
        return ""
    front = re.match(r"---\n(.*?\n)---", text, re.DOTALL)
    found = _LICENSE.search(front[1]) if front else None
    return found[1] if found else ""


def may_go(path: Path, folder: Path) -> bool:
    """Return whether a file is what it seems: no link that leads out of `folder` and the caches."""
    real = path.resolve()
    roots = [folder, hubs_of_environment().huggingface_cache]
    return real.is_file() and any(real.is_relative_to(root.resolve()) for root in roots)


def read_json(path: Path) -> dict[str, Any]:
    """Return the map that a file holds; {} where it is absent or broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
