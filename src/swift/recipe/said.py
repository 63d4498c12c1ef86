"""One tree of what a file and the flags say, and who said each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swift.core import yaml
from swift.core.errors import Problem
from swift.core.schema import Value, shown
from swift.core.yaml import Document, KeyPath, dotted
from swift.recipe.recipe import REGISTRIES, Recipe
from swift.recipe.spelling import closest, meaning

_EITHER: Mapping[KeyPath, KeyPath] = {
    ("train", "epochs"): ("train", "max_steps"),
    ("train", "max_steps"): ("train", "epochs"),
}
"""A flag for the first takes the place of what the file says of the second."""


class Said:
    """The file first, the flags over it. Names are ours afterwards, values as they were written."""

    def __init__(self, document: Document, file: str) -> None:
        self.tree: dict[str, Any] = {}
        self.problems: list[Problem] = list(document.problems)
        self._labels = {p: f"{file}:{n} {dotted(p)}" for p, n in document.lines.items()}
        others = {k: v for k, v in document.tree.items() if k not in Recipe.model_fields}
        self.tree.update({k: v for k, v in document.tree.items() if k in Recipe.model_fields})
        self._put_all([(self._labels[(k,)], k, v) for k, v in others.items()], again=False)

    def flags(self, overrides: Sequence[tuple[str, Any]]) -> None:
        """Lay flags over the tree; text is read as YAML 1.2, the last of two wins."""
        said = []
        for name, value in overrides:
            label = f"--{name}"
            try:
                said.append((label, name, yaml.flag(value) if isinstance(value, str) else value))
            except ValueError as error:
                self.problems.append(Problem(what=str(error), where=label))
        self._put_all(said, again=True)

    def where(self, path: KeyPath) -> str:
        """Return who said the key at `path` ("recipe.yaml:7 tuner.rank", "--rank"), or ""."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._labels:
                return self._labels[path[:end]]
        return ""

    def name_of(self, key: str) -> str | None:
        """Return the member that `key` names, None where nobody says (or says nonsense)."""
        said = self.tree.get(key)
        name = said.get("name") if isinstance(said, Mapping) else said
        return name if isinstance(name, str) else None

    def put(self, path: KeyPath, value: Any, label: str) -> None:
        """Set the key at `path`; a word for a whole section sets the section's main option."""
        key, *rest = path
        main = _main(str(key))
        if not rest and main and not isinstance(value, Mapping | list | tuple):
            rest = [main]
        if not rest:
            self._forget(path)
            self.tree[str(key)], self._labels[path] = value, label
            return
        section = self._section(str(key), main)
        if main == "name" and rest == ["name"] and section.get("name", value) != value:
            self._forget((key,))
            section.clear()
        section[".".join(map(str, rest))] = value
        self._labels.setdefault((key,), label)
        self._labels[(key, *rest)] = label

    def _put_all(self, said: Sequence[tuple[str, str, Any]], *, again: bool) -> None:
        """Put what is said, whole sections before their options."""
        meant = []
        for label, name, value in said:
            try:
                found = meaning(name, value)
            except ValueError as error:
                what = f"`{name}` is `{shown(value)}`"
                self.problems.append(Problem(what=what, fix=str(error), where=label))
                continue
            if found is None:
                what = f"a recipe has no key `{name}`"
                self.problems.append(Problem(what=what, fix=closest(name), where=label))
            elif found[0]:
                meant.append((found[0], found[1], label))
        for path, value, label in sorted(meant, key=lambda item: len(item[0])):
            if not again and self._has(path):
                what = f"`{dotted(path)}` is said twice, first at {self.where(path)}"
                self.problems.append(Problem(what=what, fix="keep one of them", where=label))
                continue
            other = _EITHER.get(path) if again else None
            if other and not self.where(other).startswith("--"):
                self._drop(other)
            self.put(path, value, label)

    def _has(self, path: KeyPath) -> bool:
        key, *rest = path
        section = self.tree.get(str(key))
        main = _main(str(key))
        if section is None:
            return False
        if not isinstance(section, Mapping):
            return not rest or rest == [main]
        return (rest[0] if rest else main) in section

    def _section(self, key: str, main: str) -> dict[str, Any]:
        """Return the section's map, made from its short form if it has one."""
        said = self.tree.get(key)
        if isinstance(said, dict):
            return said
        section = {main: said} if main and said is not None else {}
        self.tree[key] = section
        return section

    def _drop(self, path: KeyPath) -> None:
        section = self.tree.get(str(path[0]))
        if isinstance(section, dict):
            section.pop(str(path[1]), None)

    def _forget(self, path: KeyPath) -> None:
        for known in [p for p in self._labels if p[: len(path)] == path]:
            del self._labels[known]


def _main(key: str) -> str:
    """Return the option that a bare word sets in the section `key`, "" if it has none."""
    if key in REGISTRIES:
        return "name"
    section = Recipe.model_fields[key].annotation
    return section.shorthand if isinstance(section, type) and issubclass(section, Value) else ""
