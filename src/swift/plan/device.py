"""Where to compute, in which numbers, with which attention: chosen by what the devices can do."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from swift.core.device import CPU, accelerator
from swift.core.machine import Machine
from swift.model.abilities import abilities
from swift.model.facts import ModelFacts
from swift.recipe import Recipe

HALF = ("bfloat16", "float16")


class Choice(NamedTuple):
    """What was chosen, and the words for what nobody asked for."""

    device: str
    """torch's kind."""

    dtype: str
    attention: str
    notes: tuple[str, ...]


def choose(recipe: Recipe, facts: ModelFacts, here: Machine, strategy: str) -> Choice:
    """Return device, number format and attention for a recipe; the recipe's own words stand."""
    notes = [*here.remarks]
    where = f"{here.describe()} ({here.kind})" if here.count else "the CPU"
    dtype: str = recipe.model.dtype
    if dtype == "auto" and facts.given:
        dtype = facts.dtype
    elif dtype == "auto":
        dtype = best_dtype(here)
        notes.append(f"computes in {dtype} on {where}")
    elif dtype == "bfloat16" and here.count and not here.bfloat16:
        notes.append(f"{where} does not compute in bfloat16 itself: slow, or refused by torch")
    attention: str = recipe.model.attention
    if attention == "auto":
        attention, why = best_attention(here, dtype, strategy)
        notes += [why] if why and _possible(facts, attention) == attention else []
    attention = _possible(facts, attention)
    return Choice(here.kind, dtype, attention, tuple(notes))


def _possible(facts: ModelFacts, attention: str) -> str:
    """Return `attention`, or the next best that the model's class has, as far as is known."""
    can = None if facts.code else abilities(facts.model_type, facts.architecture)
    return can.possible(attention) if can else attention


def best_dtype(here: Machine) -> str:
    """Return the number format for training: bfloat16 where the device has it."""
    if here.kind == CPU:
        return accelerator(CPU).half
    return "bfloat16" if here.bfloat16 else accelerator(here.kind).half


def best_attention(here: Machine, dtype: str, strategy: str) -> tuple[str, str]:
    """Return (implementation of attention, why; "" for the usual one).

    flash_attention_2 where its package is installed and has kernels for the devices; tensor
    parallelism stays with torch's own, whose kernels know cut tensors.
    """
    lack = lacks_flash(here)
    if lack or dtype not in HALF or strategy == "tp":
        return "sdpa", ""
    return "flash_attention_2", "attention by flash_attn, which is installed and knows the devices"


def lacks_flash(here: Machine) -> str:
    """Return why flash_attention_2 cannot run here; "" if it can."""
    if not here.flash:
        return f"flash_attn has no kernels for {here.describe()}"
    if importlib.util.find_spec("flash_attn") is None:
        return "the package flash_attn is not installed"
    return ""
