"""Names to classes: a folder's public files are its members, found when first asked for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from swift.core.errors import Problem, UserError, nearest
from swift.core.schema import Component

T = TypeVar("T", bound=Component)
C = TypeVar("C", bound=Component)


class Registry(Generic[T]):
    """The members of one folder (`swift.tuner`, ...) by their YAML word.

    A member is a class decorated with `@registry.add("word")` in any public file of the folder
    (or of a plug-in). Nothing lists members twice: the folder is read at the first look-up.
    """

    def __init__(self, kind: str, package: str, *, later: Sequence[str] = ()) -> None:
        """Read `package` for members; `later` are words that get a member in a later version."""
        self.kind = kind
        self._later = tuple(later)
        self._package = package
        self._members: dict[str, type[T]] = {}
        self._read = False

    def add(self, name: str) -> Callable[[type[C]], type[C]]:
        """Register the decorated class under `name`, its YAML word."""

        def register(cls: type[C]) -> type[C]:
            if name in self._members:
                raise ValueError(f"{self.kind} `{name}` is registered twice")
            cls.name = name
            self._members[name] = cls  # type: ignore[assignment]  # C implements T's protocol
            return cls

        return register

    def get(self, name: str) -> type[T]:
        """Return the class called `name`; an unknown name is answered with the nearest one."""
        members = self._loaded()
        if name not in members:
            what, fix = self.missing(name)
            raise UserError(Problem(what=what, fix=fix))
        return members[name]

    def missing(self, name: str, also: Iterable[str] = ()) -> tuple[str, str]:
        """Return what to say of a name that is no member's, and its repair.

        Args:
            name: The name.
            also: Words that would do beside the members' names.
        """
        known = [*self, *also]
        if name in self._later:
            words = " or ".join(f"`{word}`" for word in known)
            return f"the {self.kind} `{name}` comes with a later version", f"write {words}"
        return f"there is no {self.kind} `{name}`", nearest(name, known)

    def make(self, said: object) -> object:
        """Return the member that `said` means: "lora", {"name": "lora", "rank": 8}, or itself.

        Raises:
            UserError: There is no such name.
            pydantic.ValidationError: An option is unknown or out of bounds.
        """
        if isinstance(said, str):
            return self.get(said)()
        if isinstance(said, Mapping) and isinstance(said.get("name"), str):
            options = {key: value for key, value in said.items() if key != "name"}
            return self.get(said["name"]).model_validate(options)
        return said

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._loaded()))

    def __contains__(self, name: object) -> bool:
        return name in self._loaded()

    def _loaded(self) -> dict[str, type[T]]:
        if not self._read:
            self._read = True
            folder = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(folder.__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self._package}.{module.name}")
        return self._members
