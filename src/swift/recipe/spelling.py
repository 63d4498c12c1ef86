"""Which key a name means: our own path, a spelling of another toolkit, or a bare last word.

`spelling.csv` holds the other toolkits' names. A row with a `value` holds for that value alone and
says what it `means` (nothing, if that is empty); a row without one passes any value on, and
`[,]` there cuts text at its commas. An empty `key` accepts what is done in any case, with the value
`*` whatever is said. The key `!` refuses, and `means` says what to do instead.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from swift.core import yaml
from swift.core.errors import nearest
from swift.core.schema import Value, kind, shown
from swift.core.table import remembered
from swift.core.yaml import KeyPath, dotted
from swift.recipe.recipe import REGISTRIES, Recipe

Row: TypeAlias = Mapping[str, str]


def meaning(name: str, value: Any) -> tuple[KeyPath, Any] | None:
    """Return the path and the value that `name: value` stands for; the path () for "nothing".

    Returns:
        None if nobody knows the name.

    Raises:
        ValueError: The name is known, but not with this value; says which it takes.
    """
    word = name.replace("-", "_")
    own = _own_path(word)
    if own:
        return own, value
    if word in _table():
        return _translate(_table()[word], value)
    places = _leaves().get(word, ())
    return (places[0], value) if len(places) == 1 else None


def closest(name: str) -> str:
    """Return a repair for a name nobody knows: "write `learning_rate`"."""
    word = name.replace("-", "_").rpartition(".")[2]
    if len(places := _leaves().get(word, ())) > 1:
        return "write " + " or ".join(f"`{dotted(place)}`" for place in places)
    own = nearest(word, list(Recipe.model_fields))
    if own.startswith("write"):
        return own
    other = nearest(word, [*_leaves(), *_table()])
    return other if other.startswith("write") else own


def elsewhere(path: KeyPath) -> str:
    """Return a repair for a key that stands in the wrong section, or is another toolkit's."""
    word = str(path[-1])
    rows = _table().get(word, ())
    places = [tuple(rows[0]["key"].split("."))] if rows and rows[0]["key"] else _leaves().get(word)
    if not places:
        return ""
    same = [place for place in places if place[0] == path[0] and len(place) == len(path)]
    if not same:
        return f"write `{dotted(places[0])}`"
    option = str(same[0][-1])
    owners = [name for name, cls in options(str(path[0])) if option in cls.model_fields and name]
    return f"`{option}` is an option of " + " and ".join(owners) if owners else f"write `{option}`"


def takes_list(name: str) -> str:
    """Return whether the key that `name` means holds a list: "", "only", or "or a word"."""
    try:
        found = meaning(name, "")
    except ValueError:
        return ""
    if not found or not found[0]:
        return ""
    key, *rest = found[0]
    if key in ("dataset", "plugins", "report", "reward"):
        return "" if rest else "or a word"
    fields = [
        cls.model_fields[str(part)]
        for _, cls in options(str(key))
        for part in rest[:1]
        if part in cls.model_fields
    ]
    kinds = {word for field in fields for word in kind(field).split("|")}
    return "" if "list" not in kinds else "or a word" if "str" in kinds else "only"


def options(key: str) -> Iterator[tuple[str, type[Value]]]:
    """Yield (member, class) of each class that holds options of the section `key`.

    The member is "" for a plain section; a key without options yields nothing.
    """
    if key in REGISTRIES:
        registry = REGISTRIES[key][0]
        yield from ((name, registry.get(name)) for name in registry)
        return
    section = Recipe.model_fields[key].annotation
    if isinstance(section, type) and issubclass(section, Value):
        yield "", section


def _own_path(word: str) -> KeyPath:
    """Return the path if its first part is a key of ours; the rest is checked with its value."""
    first, *rest = word.split(".")
    return (first, *rest) if first in Recipe.model_fields else ()


def _translate(rows: Sequence[Row], value: Any) -> tuple[KeyPath, Any]:
    said = shown(value).lower()
    exact = [row for row in rows if row["value"] and row["value"].lower() == said]
    row = next(iter(exact + [row for row in rows if row["value"] in ("", "*")]), None)
    if row is None:
        known = " or ".join(f"`{row['value']}`" for row in rows)
        raise ValueError(f"it takes {known}")
    if row["key"] == "!":
        raise ValueError(row["means"])
    path: KeyPath = tuple(row["key"].split(".")) if row["key"] else ()
    if row["value"]:
        return (path, yaml.flag(row["means"])) if row["means"] else ((), None)
    if row["means"] == "[,]" and isinstance(value, str) and "," in value:
        return path, [part.strip() for part in value.split(",")]
    return path, value


@cache
def _table() -> Mapping[str, Sequence[Row]]:
    table: dict[str, list[Row]] = {}
    with Path(__file__).with_name("spelling.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            table.setdefault(row["spelling"], []).append(row)
    return table


@remembered
def _leaves() -> Mapping[str, Sequence[KeyPath]]:
    """Return last word -> the paths that end in it (one path for all members of a registry)."""
    leaves: dict[str, list[KeyPath]] = {}
    for key in Recipe.model_fields:
        for _, section in options(key):
            for field in section.model_fields:
                here = leaves.setdefault(field, [])
                if (key, field) not in here:
                    here.append((key, field))
    return leaves
