"""How much memory the weights of a model take, by what is trained: without activations."""

from __future__ import annotations

from collections.abc import Mapping

TRAINED = 16
"""Bytes of a trained number: float32 weight, gradient and AdamW's two moments."""

PACKED = 4.127 / 8
"""Bytes of a number in 4 bits with doubly quantised scales (blocks of 64, of 256)."""

HALF = 2
"""Bytes of a frozen number in bfloat16."""


def held(parameters: int, *, matrices: int, adapter: int) -> Mapping[str, int]:
    """Return way of use -> bytes of weights, gradients and optimiser; activations come on top.

    Args:
        parameters: Numbers of the whole model.
        matrices: How many of them lie in matrices of blocks, which can be packed.
        adapter: Numbers of a LoRA adapter of rank 8 on all of them.
    """
    rest = parameters - matrices
    packed = round(matrices * PACKED) + HALF * rest
    return {
        "answer": HALF * parameters,
        "qlora": packed + TRAINED * adapter,
        "lora": HALF * parameters + TRAINED * adapter,
        "full": TRAINED * parameters,
    }


def assumed(parameters: int) -> Mapping[str, int]:
    """Return the same where only the size is known: 93 % in blocks, adapters of 0.3 %."""
    return held(parameters, matrices=round(0.93 * parameters), adapter=round(0.003 * parameters))
