"""Names to classes: a folder's public files are its members, found when first asked for.

Plug-ins add members with the same decorator. Those that are installed are read when a name is
looked for that nobody has yet, or when all names are wanted.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from swift.core.errors import Problem, UserError, nearest
from swift.core.plugins import installed
from swift.core.schema import Component
from swift.core.table import added

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
            base = self._base()
            if not (isinstance(cls, type) and issubclass(cls, base)):
                what = f"a {self.kind} is a subclass of `{base.__module__}:{base.__name__}`"
                raise TypeError(f"{what}, which `{getattr(cls, '__name__', cls)}` is not")
            if name in self._own():
                raise ValueError(f"{self.kind} `{name}` is registered twice")
            cls.name = name
            self._members[name] = cls  # type: ignore[assignment]  # C implements T's protocol
            own = cls.__module__.startswith("swift.")
            added(self.kind, name, lambda: self._members.pop(name), own=own)
            return cls

        return register

    def get(self, name: str) -> type[T]:
        """Return the class called `name`; an unknown name is answered with the nearest one."""
        if name not in self:
            what, fix = self.missing(name)
            raise UserError(Problem(what=what, fix=fix))
        return self._members[name]

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
        self._own()
        installed()
        return iter(sorted(self._members))

    def __contains__(self, name: object) -> bool:
        if name in self._own():
            return True
        installed()
        return name in self._members

    def _base(self) -> type[Component]:
        """Return the class that members extend: the one that the folder's `__init__` defines."""
        inside = vars(importlib.import_module(self._package)).values()
        found = (
            cls
            for cls in inside
            if isinstance(cls, type)
            and issubclass(cls, Component)
            and cls.__module__ == self._package
        )
        return next(found, Component)

    def _own(self) -> Mapping[str, type[T]]:
        """Return the members known by now; the folder's are."""
        if not self._read:
            self._read = True
            folder = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(folder.__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self._package}.{module.name}")
        return self._members
