"""The base of every value a recipe holds: frozen, strict about keys, documented per field."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen part of a recipe; each field is documented by the string under it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class Component(Value):
    """A Value that a registry knows by `name`, with the one verb of its folder."""

    name: ClassVar[str]
    """The YAML word, set by the registry's decorator."""
