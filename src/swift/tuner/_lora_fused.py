"""A LoRA layer's arithmetic as one function: fewer passes over [tokens, out] than layer by layer.

y = x W^T + b + s (x A^T) B^T is added up in place in one tensor, and so is dx = g W + s (g B) A.
Over PEFT's modules the scaled product and the sum are tensors of their own, both ways.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _Fused(torch.autograd.Function):
    """Shapes: x [M, in], W [out, in] frozen, A [rank, in], B [out, rank]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        y = torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())
        low = torch.mm(x, a.t())
        y.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, low = ctx.saved_tensors
        g_low = torch.mm(g, b).mul_(ctx.scale)
        dx = torch.mm(g, weight).addmm_(g_low, a) if ctx.needs_input_grad[0] else None
        da = torch.mm(g_low.t(), x)
        db = torch.mm(g.t(), low).mul_(ctx.scale)
        return dx, None, None, da, db, None


def fuse(model: nn.Module) -> None:
    """Let every plain LoRA layer of `model` compute its fused form wherever that is the same."""
    for layer in model.modules():
        if type(layer) is LoraLinear and type(layer.base_layer) is nn.Linear:
            layer.forward = partial(_forward, layer, layer.forward)


def _forward(layer: LoraLinear, plain: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute fused if nothing but W, A and B has a say; else as PEFT does."""
    base, a, b = layer.base_layer, layer.lora_A, layer.lora_B
    if not _simple(layer, x) or args or kwargs:
        found: Tensor = plain(x, *args, **kwargs)
        return found
    name = layer.active_adapters[0]
    flat: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]),
        base.weight,
        base.bias,
        a[name].weight,
        b[name].weight,
        layer.scaling[name],
    )
    return flat.view(*x.shape[:-1], base.out_features)


def _simple(layer: LoraLinear, x: Tensor) -> bool:
    """One active, unmerged, plain adapter in training; plain tensors of one type; no dropout."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    if name not in layer.lora_A or name in layer.lora_variant:
        return False
    weights = (layer.base_layer.weight, layer.lora_A[name].weight, layer.lora_B[name].weight)
    return (
        type(layer.lora_dropout[name]) is nn.Identity
        and not layer.base_layer.weight.requires_grad
        and all(type(w) is nn.Parameter and w.dtype == x.dtype for w in weights)
        and not torch.is_autocast_enabled(x.device.type)
        and not any(m._forward_hooks for m in (layer.base_layer, layer.lora_A[name]))
    )
