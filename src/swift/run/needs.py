"""What a plan needs before it runs: memory of a device, disk, time; first figures, from shapes."""

from __future__ import annotations

import csv
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.device import CPU
from swift.core.machine import machine
from swift.model.facts import read_config
from swift.model.memory import PACKED, TRAINED
from swift.parallel import strategies

if TYPE_CHECKING:
    from swift.plan import Plan

_SPEEDS = Path(__file__).with_name("speeds.csv")

_SHARE = 0.35
"""Share of a GPU's peak in matrices that training is taken to reach; 0.4 is a good run's."""

_CPU_SHARE = 0.3
"""The same of what a matrix product was just seen to reach on this CPU."""

_LOGITS = 256 * 2**20
"""Bytes of logits at any time: the head works in chunks."""

_BASE = 600 * 2**20
"""Bytes that a GPU's driver and libraries hold."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Widths of a model's blocks, as far as its configuration tells."""

    layers: int
    hidden: int
    inner: int
    """Width of the feed-forward layer."""

    heads: int
    width: int
    """Of all heads' queries together."""

    kv: int
    """Of all heads' keys together."""

    vocabulary: int
    experts: int
    """Feed-forward layers beside each other in a block; 1 where it is one."""

    def adapter(self, rank: int) -> int:
        """Return the numbers of a LoRA adapter on every matrix of every block."""
        h, f = self.hidden, self.inner
        attention = 2 * (h + self.width) + 2 * (h + self.kv)
        return rank * self.layers * (attention + 3 * (h + f) * self.experts)

    def activations(self, dtype_bytes: int) -> int:
        """Return bytes that one token leaves in one block for the backward.

        Counted on blocks of Llama's kind, in 16 bits: 20 h + 4 kv + 8 f + 4 heads + 8.
        """
        count = 20 * self.hidden + 4 * self.kv + 8 * self.inner + 4 * self.heads + 8
        return count * dtype_bytes // 2


def shape_of(plan: Plan) -> Shape:
    """Return the widths of a plan's model; what its configuration does not tell is as usual."""
    facts = plan.model
    config: dict[str, Any] = read_config(Path(facts.folder)) if facts.folder else {}
    text = config.get("text_config") or config
    heads = max(1, facts.heads)
    width = _number(text, "head_dim") or facts.hidden // heads
    return Shape(
        layers=facts.layers,
        hidden=facts.hidden,
        inner=_number(text, "moe_intermediate_size", "intermediate_size") or 4 * facts.hidden,
        heads=heads,
        width=heads * width,
        kv=facts.kv_heads * width,
        vocabulary=facts.vocabulary,
        experts=_number(text, "num_experts", "n_routed_experts", "num_local_experts") or 1,
    )


def _number(config: Mapping[str, Any], *names: str) -> int:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int)), 0)


def trained(plan: Plan, shape: Shape) -> int:
    """Return how many numbers are trained."""
    tuner, whole = plan.recipe.tuner, plan.model.parameters
    if tuner.adapters:
        return shape.adapter(getattr(tuner, "rank", 8))
    if tuner.name == "freeze" and shape.layers:
        return whole * min(shape.layers, getattr(tuner, "layers", shape.layers)) // shape.layers
    return whole


def memory(plan: Plan, shape: Shape, longest: int) -> dict[str, int]:
    """Return what takes how many bytes on one device.

    Args:
        plan: What to do.
        shape: Of its model.
        longest: Tokens of the longest item, all its sequences together.
    """
    size = 4 if plan.dtype == "float32" else 2
    share = plan.world if strategies.get(plan.strategy).cuts else 1
    numbers = trained(plan, shape)
    frozen = (
        plan.model.parameters if plan.recipe.tuner.adapters else plan.model.parameters - numbers
    )
    per = PACKED if plan.recipe.quant is not None else size
    cast = size if size < 4 else 0  # autocast keeps a copy of what it casts
    tokens = longest * plan.sizes.micro
    kept = tokens * shape.activations(size)
    if plan.gradient_checkpointing:
        held = shape.layers * tokens * shape.hidden * size + kept
    else:
        held = shape.layers * kept
    return {
        "frozen weights": (round(frozen * per) + size * _reference(plan)) // share,
        "trained weights, gradients, optimiser": numbers * (TRAINED + cast) // share,
        "activations": held // (share if plan.strategy == "tp" else 1),
        "logits": min(_LOGITS, 4 * tokens * shape.vocabulary),
        "driver and libraries": _BASE if plan.device != CPU else 0,
    }


def _reference(plan: Plan) -> int:
    """Return the numbers of a second model, where one stands beside the trained one."""
    method = plan.recipe.method
    if all(p.role == "policy" for p in method.passes.values()):
        return 0
    if plan.reference is not None:
        return plan.reference.parameters
    apart = not plan.recipe.tuner.adapters or getattr(method, "reference", "auto") == "model"
    return plan.model.parameters if apart else 0


def capacity(plan: Plan) -> int | None:
    """Return the bytes that one process may fill; None where nobody knows."""
    if plan.device != CPU:
        return machine().memory
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return whole // max(1, plan.world)


def disk(plan: Plan, shape: Shape) -> int:
    """Return the bytes of the checkpoints that stay, and of one being written."""
    numbers = trained(plan, shape)
    weights = numbers if plan.recipe.tuner.adapters else plan.model.parameters
    return (4 * weights + 12 * numbers) * (plan.recipe.train.keep + 1)


def free(plan: Plan) -> int:
    """Return the bytes that are free where the run folder will be."""
    place = Path(plan.output_dir or "runs").absolute()
    while not place.is_dir():
        place = place.parent
    return shutil.disk_usage(place).free


def work(plan: Plan, shape: Shape, tokens: int, mean: float) -> float:
    """Return the floating-point operations of training on so many tokens.

    Two a weight and token forward, two more for what goes back, two more where weights are
    trained, two where activations are computed again, two for another model's answers.

    Args:
        plan: What to do.
        shape: Of its model.
        tokens: Of all steps.
        mean: Tokens of a usual sequence, whose tokens look at each other.
    """
    passes = 2 if plan.recipe.tuner.adapters else 3
    passes += int(plan.gradient_checkpointing)
    passes += sum(p.role != "policy" for p in plan.recipe.method.passes.values())
    weights = plan.model.parameters
    if shape.experts > 1:
        weights = shape.layers * (4 * shape.hidden * shape.width + 24 * shape.hidden * shape.inner)
    looks = shape.layers * shape.width * mean
    return 2 * passes * (weights + looks) * tokens


def speed(plan: Plan) -> tuple[float, str] | None:
    """Return (floating-point operations a second of all processes, what that rests on)."""
    if plan.device == CPU:
        rate = _product()
        rests = f"{_CPU_SHARE:.0%} of {rate / 1e9:,.0f} GFLOP/s, measured here on a matrix product"
        return rate * _CPU_SHARE, rests
    names = machine().names
    with _SPEEDS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if names and re.search(row["pattern"], names[0]):
                peak = float(row["tflops"])
                rests = f"{_SHARE:.0%} of {plan.world} x {peak:,.0f} TFLOP/s, of the data sheet"
                return peak * 1e12 * _SHARE * plan.world, rests
    return None


def _product() -> float:
    """Return the operations a second of a matrix product in float32."""
    import numpy as np

    size = 384
    a = np.random.Generator(np.random.PCG64(0)).standard_normal((size, size), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
