"""Kinds of devices that torch knows: a table, so that no code need tell them apart."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

CPU = "cpu"


class Accelerator(NamedTuple):
    """A kind of devices."""

    kind: str
    """torch's word for it."""

    collectives: str
    """torch.distributed's backend for it; "" where torch may know or there is none."""

    plugin: str
    """The package that brings it to torch; "" where torch has it itself."""

    half: str
    """What to compute in where bfloat16 is not to be had: float16, or float32 where half types do
    not pay or are not safe."""

    sums: str
    """The widest numbers that it adds up well: float64, or float32."""

    fused: str
    """yes: torch's fused optimisers run on it."""

    said: str
    """What people call one: GPU."""


@cache
def accelerators() -> dict[str, Accelerator]:
    """Return all kinds that are known, by torch's word."""
    with Path(__file__).with_name("accelerators.csv").open(encoding="utf-8", newline="") as file:
        return {row["kind"]: Accelerator(**row) for row in csv.DictReader(file)}


def accelerator(kind: str) -> Accelerator:
    """Return what is known of a kind; an unknown one is taken for a plug-in of torch's own form."""
    known = accelerators().get(kind)
    return known or Accelerator(kind, "", "", "float32", "float32", "", kind.upper())
