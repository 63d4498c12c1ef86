"""Live objects that a Python caller brings along; the command line brings none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Given:
    """What stands in for the plan's files. A run with any of it stays in this process."""

    models: Mapping[str, nn.Module] = field(default_factory=dict)
    """By role: "policy", "reference". A PeftModel is trained as it is, without a second tuner."""

    rows: Iterable[Mapping[str, Any]] | None = None
    """Instead of the recipe's `dataset`."""

    validation: Iterable[Mapping[str, Any]] | None = None
    """Instead of `data.validation`."""


NOTHING = Given()
