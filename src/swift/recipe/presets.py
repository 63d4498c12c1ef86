"""Presets: a word that stands for a member of a registry and for values of other keys.

`presets.csv` holds them: under `key`, the word `preset` means all that `sets` says. Options written
beside the word are the member's own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from swift.core import yaml
from swift.core.errors import Problem
from swift.core.schema import shown
from swift.core.table import Table, remembered
from swift.core.yaml import KeyPath, dotted
from swift.recipe.said import Said

Sets: TypeAlias = Mapping[str, Mapping[str, Any]]
"""section -> option -> value; the section of the preset's own key holds the member's name."""


def presets_of(key: str) -> Mapping[str, Sets]:
    """Return preset -> what it sets, for the presets of a recipe's key."""
    return _table().get(key, {})


def meaning_of(key: str, preset: str) -> str:
    """Return what a preset stands for, in a line: "tuner: lora, quant: {name: bnb, bits: 4}"."""
    parts = presets_of(key)[preset].items()
    return ", ".join(f"{k}: {shown(v['name'] if len(v) == 1 else v)}" for k, v in parts)


def expand(said: Said) -> None:
    """Replace presets by what they stand for; what was said otherwise is a problem."""
    for key, known in _table().items():
        name = said.name_of(key)
        if name is not None and name in known:
            _lay(said, key, name, known[name])


def _lay(said: Said, key: str, preset: str, sets: Sets) -> None:
    place = said.where((key, "name"))
    member = sets[key]["name"]
    options = said.tree[key] if isinstance(said.tree[key], Mapping) else {}
    said.tree[key] = {**options, "name": member}
    for section, values in sets.items():
        for option, value in values.items():
            path = (section, option)
            found = _found(said, path, value)
            if found == value:
                said.put(path, value, place)
                continue
            name = section if option == "name" else dotted(path)
            what = f"`{key}: {preset}` sets `{name}: {shown(value)}`, but it is `{shown(found)}`"
            fix = f"leave `{name}` out, or write `{key}: {member}`"
            said.problems.append(Problem(what=what, fix=fix, where=said.where(path)))
            break  # the other options are those of another member


def _found(said: Said, path: KeyPath, unsaid: Any) -> Any:
    """Return what was said at `path`, `unsaid` if nothing."""
    section, option = str(path[0]), str(path[1])
    there = said.tree.get(section, {})
    if isinstance(there, Mapping):
        return there.get(option, unsaid)
    return there if option == "name" else unsaid  # a bare word, or null


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A row of presets.csv, or a plug-in's."""

    key: str
    """The recipe's key that takes the word."""

    preset: str
    """The word."""

    sets: Sets
    """What it stands for; under `key`, the member's name."""


def _read() -> Iterator[Preset]:
    with Path(__file__).with_name("presets.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Preset(key=row["key"], preset=row["preset"], sets=yaml.flag(row["sets"]))


presets: Table[Preset] = Table("preset", _read, lambda row: f"{row.key}: {row.preset}")
"""All of them. A plug-in adds one with `presets.add(Preset(...))`."""


@remembered
def _table() -> Mapping[str, Mapping[str, Sets]]:
    table: dict[str, dict[str, Sets]] = {}
    for row in presets:
        table.setdefault(row.key, {})[row.preset] = row.sets
    return table
