"""A plain tree becomes values; everything that is wrong with it becomes a Problem.

Each value is validated by itself, so that a mistake in one hides none in another, and strictly:
text is no number, `true` is no 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from swift.core.errors import Problem, nearest
from swift.core.registry import Registry
from swift.core.schema import Component, Value, shown, takes
from swift.core.yaml import KeyPath, dotted

V = TypeVar("V", bound=Value)
C = TypeVar("C", bound=Component)


class Checker:
    """Builds values and collects problems."""

    def __init__(
        self, where: Callable[[KeyPath], str], hint: Callable[[KeyPath], str] = lambda path: ""
    ) -> None:
        """Say where a key stands (`where`), and what an unknown key may have meant (`hint`)."""
        self._where = where
        self._hint = hint
        self.problems: list[Problem] = []

    def say(self, what: str, path: KeyPath, fix: str = "") -> None:
        """Note a problem with the key at `path`."""
        self.problems.append(Problem(what=what, fix=fix, where=self._where(path)))

    def value(self, cls: type[V], said: Any, path: KeyPath) -> V | None:
        """Return a `cls` made of `said`, as far as it is sound; None if nothing of it is."""
        if cls.shorthand and not isinstance(said, Mapping):
            said = {cls.shorthand: said}
        if not isinstance(said, Mapping):
            fix = f"write its options under it: {_some(cls)}"
            self.say(f"`{dotted(path)}` is `{shown(said)}`, not a map", path, fix)
            return None
        fields = {key: _frozen(item) for key, item in said.items()}
        try:
            return cls.model_validate(fields, strict=True)
        except ValidationError as error:
            spoilt = self._explain(cls, fields, error, path)
        sound = {key: item for key, item in fields.items() if key not in spoilt}
        try:
            return cls.model_validate(sound, strict=True)
        except ValidationError:
            return None

    def component(
        self,
        registry: Registry[C],
        said: Any,
        path: KeyPath,
        default: str | None,
        also: Iterable[str] = (),
    ) -> C | None:
        """Return the member that `said` names, with its options; `default` where it names none.

        `also` are words that would do beside the members' names, for the repair of another.
        """
        if isinstance(said, Mapping):
            name, options = said.get("name", default), {k: said[k] for k in said if k != "name"}
        else:
            name, options = said, {}
        if isinstance(name, str) and name in registry:
            return self.value(registry.get(name), options, path)
        at = (*path, "name") if isinstance(said, Mapping) and "name" in said else path
        known = [*registry, *also]
        if isinstance(name, str):
            what, fix = registry.missing(name, also)
            self.say(what, at, fix)
        elif name is None and options:
            what = f"`{dotted(path)}` has options, but no name"
            self.say(what, at, f"leave them out, or give `name`: {_one_of(known)}")
        else:
            self.say(f"`{dotted(at)}` is `{shown(name)}`, not a name", at, _one_of(known))
        return None

    def _explain(
        self, cls: type[Value], fields: Mapping[str, Any], error: ValidationError, path: KeyPath
    ) -> set[str]:
        """Note one problem for each field that is wrong; return those fields."""
        spoilt: set[str] = set()
        misspelt = {nearest(key, list(cls.model_fields)) for key in fields}
        for detail in error.errors(include_url=False):
            field = str(detail["loc"][0]) if detail["loc"] else ""
            if field in spoilt:
                continue  # each member of a union complains by itself
            spoilt.add(field)
            if not field:
                self.say(_reason(detail), path)
                spoilt.update(fields)
            elif detail["type"] == "extra_forbidden":
                self._unknown(cls, field, path)
            elif field not in fields:
                if f"write `{field}`" not in misspelt:
                    self.say(f"`{dotted(path)}` lacks `{field}`", path, f"write `{field}: ...`")
            else:
                here = (*path, field)
                fix = f"give {takes(cls.model_fields[field])}"
                if detail["type"] == "value_error":
                    fix = _reason(detail)
                self.say(f"`{dotted(here)}` is `{shown(fields[field])}`", here, fix)
        return spoilt

    def _unknown(self, cls: type[Value], field: str, path: KeyPath) -> None:
        here = (*path, field)
        name = f"{cls.name} " if issubclass(cls, Component) else ""
        what = f"`{dotted(path)}` {name and f'({name.strip()}) '}has no key `{field}`"
        known = list(cls.model_fields)
        fix = nearest(field, known) if known else f"`{name.strip()}` has no options"
        if not fix.startswith("write"):
            fix = self._hint(here) or fix
        self.say(what, here, fix)


def _frozen(said: Any) -> Any:
    """Return `said` with its lists as tuples: values hold nothing that changes."""
    if isinstance(said, list | tuple):
        return tuple(_frozen(item) for item in said)
    return {k: _frozen(v) for k, v in said.items()} if isinstance(said, Mapping) else said


def _reason(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Value error, ")


def _some(cls: type[Value]) -> str:
    return ", ".join(f"`{name}`" for name in list(cls.model_fields)[:4])


def _one_of(names: list[str]) -> str:
    return "one of " + ", ".join(f"`{name}`" for name in names)
