"""The base of every value a recipe holds: frozen, strict about keys, documented per field."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Value(BaseModel):
    """A frozen part of a recipe; each field is documented by the string under it."""

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False
    )

    shorthand: ClassVar[str] = ""
    """The field that a bare word sets: `model: nano` is `model: {id: nano}`. "" for none."""

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, said: Any) -> Any:
        return {cls.shorthand: said} if cls.shorthand and isinstance(said, str) else said


class Component(Value):
    """A Value that a registry knows by `name`, with the one verb of its folder."""

    name: ClassVar[str]
    """The YAML word, set by the registry's decorator."""

    @model_serializer(mode="wrap")
    def _with_name(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **fields(self)}


@dataclass(frozen=True)
class Word:
    """Marks text that is one of some words, which plug-ins may add to."""

    known: Callable[[], Sequence[str]]
    """Returns them."""

    later: Sequence[str] = ()
    """Words of a later version."""

    instead: str = ""
    """What does in their place."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Let pydantic ask for one of them."""
        return core_schema.no_info_after_validator_function(self._one, handler(source))

    def _one(self, said: str) -> str:
        if said in self.known():
            return said
        if said in self.later:
            raise ValueError(f"{said} comes with a later version; {self.instead}")
        raise PydanticCustomError("unknown_word", "no such word")


@cache
def documentation(cls: type[Value]) -> Mapping[str, str]:
    """Return field -> the text under it, for the fields of `cls` and its bases.

    Read from the source, since Python keeps no such strings; a field without one is absent.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Value) and base not in (Value, Component):
            found.update(_under_fields(base))
    return {name: found[name] for name in cls.model_fields if name in found}


def summary(text: str) -> str:
    """Return the first sentence of `text`, on one line, without its full stop."""
    line = " ".join(text.split())
    for end in range(len(line)):
        if line[end] == "." and (end + 1 == len(line) or line[end + 1] == " "):
            return line[:end]
    return line


def takes(info: FieldInfo) -> str:
    """Return what a field takes, in words: "a whole number of at least 1, or `auto`"."""
    parts = _alternatives(info.annotation, tuple(info.metadata))
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" or {parts[-1]}"


def kind(info: FieldInfo) -> str:
    """Return what a field takes, in type words: "int|auto"."""
    return "|".join(_known(tuple(info.metadata)) or _short(info.annotation))


def shown(value: Any) -> str:
    """Return a value as YAML would write it, cut to a line."""
    words = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(v) for v in value) + "]"
    else:
        text = str(value) if value != "" else '""'
    return text if len(text) <= 60 else text[:57] + "..."


def _under_fields(cls: type[Value]) -> dict[str, str]:
    body = next((n.body for n in _classes(cls.__module__) if n.name == cls.__name__), [])
    return {
        field.target.id: text.value.value
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@cache
def _classes(module: str) -> tuple[ast.ClassDef, ...]:
    source = sys.modules[module].__file__
    if source is None:
        return ()
    tree = ast.parse(Path(source).read_text(encoding="utf-8"))
    return tuple(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))


def _members(annotation: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return the members of a union, each with its bounds."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    if hasattr(annotation, "__metadata__"):
        inner, *bounds = get_args(annotation)
        return [(inner, tuple(b for bound in bounds for b in getattr(bound, "metadata", [bound])))]
    return [(annotation, ())]


def _alternatives(annotation: Any, bounds: tuple[Any, ...]) -> list[str]:
    out: list[str] = []
    for member, own in _members(annotation):
        out += _words(member, bounds + own)
    return out


def _words(annotation: Any, bounds: tuple[Any, ...]) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if words := _known(bounds):
        return [f"`{word}`" for word in words]
    names = {str: "text", type(None): "null"}
    if annotation in names:
        return [names[annotation]]
    if annotation in (int, float):
        number = "a whole number" if annotation is int else "a number"
        limits = " and ".join(_limit(b) for b in bounds if _limit(b))
        return [f"{number} {limits}" if limits else number]
    args = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [f"`{word}`" for word in args]
    if get_origin(annotation) is tuple:
        if args[-1] is Ellipsis:
            return [f"a list, each {_alternatives(args[0], ())[0]}"]
        return [f"a list of {len(args)}, each {_alternatives(args[0], ())[0]}"]
    return ["a map"] if get_origin(annotation) else [f"a {annotation.__name__.lower()}"]


def _known(bounds: tuple[Any, ...]) -> Sequence[str]:
    """Return the words that a field's mark knows; none without such a mark."""
    return next((mark.known() for mark in bounds if isinstance(mark, Word)), ())


def _limit(bound: Any) -> str:
    signs = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    said = [f"{text} {getattr(bound, s)}" for s, text in signs.items() if hasattr(bound, s)]
    return said[0] if said else ""


def _short(annotation: Any) -> list[str]:
    words: list[str] = []
    for member, _ in _members(annotation):
        if get_origin(member) is Literal:
            words += [str(word) for word in get_args(member)]
        elif get_origin(member) is tuple:
            words.append("list")
        elif get_origin(member):
            words.append("map")
        else:
            words.append("null" if member is type(None) else member.__name__.lower())
    return words
