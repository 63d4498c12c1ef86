"""A content that is watched: what a chat template does with it, step by step.

A content that is only written, stripped, split or asked a question (does it begin with …, is it
empty) leaves a trail: what became of it, and each question with its answer. Whatever else a
template does with one (a slice, a filter, JSON) ends the trail: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, SupportsIndex

from jinja2.runtime import Undefined
from jinja2.utils import Namespace


class Unfollowed(Exception):  # noqa: N818 - it is a verdict on a template, not a failure
    """The template does with a content what cannot be followed."""


class Ref(NamedTuple):
    """A content that came into the text, whole or in part."""

    message: int
    steps: tuple[tuple[str, str | None, int], ...] = ()
    """What was done to it, in turn: (method of str, its argument, which part of a split)."""

    def of(self, content: str) -> str:
        """Return what the steps leave of a content."""
        for method, argument, part in self.steps:
            if method == "split":
                content = content.split(argument)[part]
            else:
                content = getattr(content, method)(argument)
        return content


class Asked(NamedTuple):
    """A question that the template asked of a content, and the answer."""

    ref: Ref
    method: str
    argument: str
    answer: bool

    def holds(self, content: str) -> bool:
        """Return whether another content gets the same answer."""
        found = self.ref.of(content)
        if self.method == "bool":
            return bool(found) is self.answer
        return getattr(found, self.method)(self.argument) is self.answer


Part = str | Ref


class Watched(str):
    """A text with the contents that are in it."""

    parts: tuple[Part, ...]
    asked: list[Asked]

    @classmethod
    def of(cls, text: str, parts: Iterable[Part], asked: list[Asked]) -> Watched:
        """Return `text`, made of `parts`; questions go to `asked`."""
        made = str.__new__(cls, text)
        made.parts, made.asked = tuple(parts), asked
        return made

    def _ask(self, method: str, argument: Any) -> bool:
        if len(self.parts) != 1 or not isinstance(self.parts[0], Ref):
            raise Unfollowed(f"{method} of a text around a content")
        if type(argument) is not str:
            raise Unfollowed(f"{method} of something else than a text")
        answer: bool = (
            bool(self._text) if method == "bool" else getattr(self._text, method)(argument)
        )
        self.asked.append(Asked(self.parts[0], method, argument, answer))
        return answer

    def _step(self, method: str, argument: Any, part: int = 0) -> Watched:
        if len(self.parts) != 1 or not isinstance(self.parts[0], Ref):
            raise Unfollowed(f"{method} of a text around a content")
        if argument is not None and type(argument) is not str:
            raise Unfollowed(f"{method} by something else than a text")
        whole, step = self.parts[0], (method, argument, part)
        text = Ref(0, (step,)).of(self._text)
        return Watched.of(text, [Ref(whole.message, (*whole.steps, step))], self.asked)

    @property
    def _text(self) -> str:
        return "".join((self,))

    def __str__(self) -> str:
        return self

    def __bool__(self) -> bool:
        if any(part and not isinstance(part, Ref) for part in self.parts):
            return True
        return self._ask("bool", "")

    def __contains__(self, said: object) -> bool:
        return self._ask("__contains__", said)

    def __eq__(self, other: object) -> bool:
        return self._ask("__eq__", other) if isinstance(other, str) else False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # a dict would ask it unseen

    def startswith(self, said: Any, *place: Any) -> bool:
        """Ask, and keep the answer."""
        return self._ask("startswith", said) if not place else _unfollowed("startswith")

    def endswith(self, said: Any, *place: Any) -> bool:
        """Ask, and keep the answer."""
        return self._ask("endswith", said) if not place else _unfollowed("endswith")

    def strip(self, said: Any = None) -> str:
        """Take a step."""
        return self._step("strip", said)

    def lstrip(self, said: Any = None) -> str:
        """Take a step."""
        return self._step("lstrip", said)

    def rstrip(self, said: Any = None) -> str:
        """Take a step."""
        return self._step("rstrip", said)

    def split(self, said: Any = None, most: Any = -1) -> Any:
        """Return what gives the first or the last part."""
        return _Split(self, said) if most == -1 else _unfollowed("split")

    def __add__(self, other: Any) -> str:
        return joined((self, other)) if isinstance(other, str) else _unfollowed("+")

    def __radd__(self, other: Any) -> str:
        return joined((other, self)) if isinstance(other, str) else _unfollowed("+")


class _Split:
    """The parts of a content, of which a template takes the first or the last."""

    def __init__(self, whole: Watched, by: Any) -> None:
        self._whole, self._by = whole, by

    def __getitem__(self, part: SupportsIndex) -> Watched:
        number = part.__index__()
        if number not in (0, -1) or not self._by:
            raise Unfollowed("a part of a split")
        return self._whole._step("split", self._by, number)

    def __iter__(self) -> Any:
        raise Unfollowed("all parts of a split")

    # All of them look at every part; their signatures differ, and none returns.
    __len__ = __bool__ = __contains__ = __eq__ = __iter__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]  # a dict would ask it unseen


def _unfollowed(what: str) -> Any:
    raise Unfollowed(what)


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise Unfollowed(f"{name} of a content")

    return refuse


_NEEDED = frozenset((*vars(object), *vars(Watched), "__getnewargs__"))
_ORDER = ("__lt__", "__le__", "__gt__", "__ge__", "__repr__", "__format__")
for _name in (*_ORDER, *(name for name in dir(str) if name not in _NEEDED)):
    setattr(Watched, _name, _refusing(_name))


def joined(texts: Iterable[str]) -> str:
    """Return the texts as one, which is watched if one of them is."""
    found = list(texts)
    watched = [text for text in found if isinstance(text, Watched)]
    whole = "".join(found)
    if not watched:
        return whole
    parts: list[Part] = []
    for text in found:
        parts += text.parts if isinstance(text, Watched) else (text,)
    return Watched.of(whole, parts, watched[0].asked)


def holds(value: Any) -> bool:
    """Tell whether a watched content is in `value`; what cannot be looked into may hold one."""
    if isinstance(value, Watched):
        return True
    if isinstance(value, Mapping):
        return any(map(holds, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds, value))
    return not isinstance(value, str | int | float | None | Undefined | Namespace)
