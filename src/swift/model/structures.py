"""Structures: who can compute a model, and the classes of those that plug-ins bring."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from swift.core.table import Table, remembered


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """A row of families.csv, or a plug-in's: who can compute a structure."""

    structure: str
    family: str

    status: str = "native"
    """native; mapped (we rewrite it as a native one); converted (another repository of the same
    model is native); near (a native one resembles it); remote (code of its own only)."""

    model_types: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    native: tuple[str, ...] = ()
    """transformers' classes that compute it, or what comes nearest."""

    wants: tuple[str, ...] = ()
    """Packages and versions that its own code asks for."""

    note: str = ""

    config: str = ""
    """"module:Class" of its configuration, a PretrainedConfig, where transformers has none. Its
    model_type is the structure's name."""

    model: str = ""
    """"module:Class" that computes it, a PreTrainedModel with a language model's head."""


def _read() -> Iterator[Structure]:
    path = Path(__file__).parent / "families.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Structure(
                structure=row["structure"],
                family=row["family"],
                status=row["status"],
                model_types=_split(row["model_types"]),
                architectures=_split(row["architectures"]),
                native=_split(row["native"]),
                wants=_split(row["wants"]),
                note=row["note"],
            )


families: Table[Structure] = Table("structure", _read, lambda row: row.structure)
"""All of them. A plug-in adds one with `families.add(Structure(...))`."""


@remembered
def structures() -> Mapping[str, Structure]:
    """Return structure -> its row."""
    return {row.structure: row for row in families}


@remembered
def brought() -> Mapping[str, Structure]:
    """Return model_type -> row of the structures whose classes plug-ins bring."""
    return {row.structure: row for row in families if row.config}


def enrol() -> None:
    """Tell transformers of the classes that plug-ins bring.

    Called before a folder is opened; the plug-ins' own modules are imported here, not before.
    """
    for model_type, row in brought().items():
        config, model = _class(row.config), _class(row.model)
        from transformers import AutoConfig, AutoModelForCausalLM

        AutoConfig.register(model_type, config, exist_ok=True)
        AutoModelForCausalLM.register(config, model, exist_ok=True)


def _class(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _split(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|")) if cell else ()
