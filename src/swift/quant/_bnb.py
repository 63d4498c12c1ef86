"""Linear layers of 4 bits with bitsandbytes' modules."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.variants import ALoraLinearVariant, ArrowLinearVariant, DoraLinearVariant
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem, UserError
from swift.model.score import HEAD
from swift.model.skeleton import bare

if TYPE_CHECKING:
    from swift.quant.bnb import Bnb


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide that bitsandbytes finds no compiled kernel for the CPU: it has torch's own."""
    log = logging.getLogger("bitsandbytes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


with _quietly():
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit, Params4bit
    from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

_VARIANTS = (ALoraLinearVariant, ArrowLinearVariant, DoraLinearVariant)
"""The kinds of LoRA that PEFT can compute over a packed layer too."""

_BLOCK = 64
"""Weights that share a scale. bitsandbytes 0.50 unpacks a block across rows wrongly on CPUs."""

_EXACT = (torch.float32, torch.bfloat16, torch.float16)
"""What bitsandbytes packs."""


def install(model: nn.Module, options: Bnb, dtype: torch.dtype) -> None:
    """Exchange every linear layer but the head; PEFT is told, since it does not look."""
    found = _linears(model)
    if not found:
        what = f"no linear layer of the model has a multiple of {_BLOCK} inputs, as 4 bits want"
        raise PlanError(Problem(where="quant", what=what, fix="leave `quant` out"))
    for name, layer in found:
        model.set_submodule(name, _empty(layer, options, dtype))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # PEFT's sign


def packed(like: Tensor, value: Tensor) -> Tensor:
    """Return a parameter that packs itself on its way to a device."""
    if not isinstance(like, Params4bit):
        return value
    return cast(
        Tensor,
        Params4bit(
            value,
            requires_grad=False,
            compress_statistics=like.compress_statistics,
            quant_type=like.quant_type,
        ),
    )


def whole(weight: Tensor) -> Tensor:
    """Return weights [out, in] of a packed parameter, in the type they were packed from."""
    if not isinstance(weight, Params4bit) or weight.quant_state is None:
        return weight
    return cast(Tensor, dequantize_4bit(weight.data, weight.quant_state))


def numel(weight: Tensor) -> int:
    """Return how many numbers a parameter stands for."""
    state = weight.quant_state if isinstance(weight, Params4bit) else None
    return int(state.shape.numel()) if state is not None else weight.numel()


def live(model: nn.Module, options: Bnb) -> int:
    """Pack layer by layer; at any time one weight is here twice."""
    found = [(n, m) for n, m in _linears(model) if not m.weight.requires_grad]
    if not found and not any(isinstance(m, Linear4bit) for m in model.modules()):
        raise UserError(
            Problem(
                what=f"no linear layer is frozen and has a multiple of {_BLOCK} inputs",
                fix="call model.requires_grad_(False), or attach LoRA, first",
            )
        )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            _keep_layout(module)
    for name, layer in found:
        made = _empty(layer, options, _computes(layer.weight.dtype))
        value = layer.weight.detach().to(_computes(layer.weight.dtype))
        made.weight = cast(nn.Parameter, packed(made.weight, value).to(layer.weight.device))
        parent = model.get_submodule(name.rpartition(".")[0])
        model.set_submodule(name, made)
        if type(parent) is LoraLinear:
            _change_kind(parent)
    inner = bare(model)
    inner.is_loaded_in_4bit = True
    return len(found)


def _computes(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in _EXACT else torch.float32


def _empty(layer: nn.Linear, options: Bnb, dtype: torch.dtype) -> Linear4bit:
    """Return a packed layer for `layer`, its weight on the meta device, its bias the same."""
    made = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=dtype,
        compress_statistics=options.double,
        quant_type=options.type,
        device="meta",
    )
    made.weight.module = None  # a cycle that only FSDP1 needs
    if layer.bias is not None:
        made.bias = layer.bias
    _keep_layout(made)
    made.train(layer.training)
    return made


def _keep_layout(layer: Linear4bit) -> None:
    """Forbid what bitsandbytes 0.50 does on CPUs with AVX512-BF16.

    There a forward without gradient repacks the weight for good, with its scales rounded to
    bfloat16: a validation would change the model that is trained.
    """
    layer.support_avx512bf16_for_cpu = False


def _linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Return the plain linear layers of whole blocks, less the head, shared ones and adapters."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    spared = _spared(model)
    return [
        (name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and module.in_features % _BLOCK == 0
        and id(module) not in spared
        and uses[id(module.weight)] == 1
    ]


def _spared(model: nn.Module) -> set[int]:
    """Return the ids of modules that stay: the head's, PEFT's own, and under foreign adapters."""
    spared: set[int] = set()
    find_head: Any = getattr(model, "get_output_embeddings", None)
    head: nn.Module | None = find_head() if find_head else None
    head = head or getattr(model, HEAD, None)
    if head is not None:
        spared |= {id(m) for m in head.modules()}
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            kept = module.base_layer if _can_change(module) else None
            spared |= {id(m) for m in module.modules() if m is not kept}
        elif isinstance(module, AuxiliaryTrainingWrapper):
            spared |= {id(m) for m in module.modules()}
    return spared


def _can_change(layer: Any) -> bool:
    return (
        type(layer) is LoraLinear
        and not layer.merged
        and all(isinstance(v, _VARIANTS) for v in layer.lora_variant.values())
    )


def _change_kind(layer: LoraLinear) -> None:
    """Let a LoRA layer be PEFT's kind for packed bases: it merges by unpacking and repacking.

    The same object, so that adapters, hooks and whoever holds it stay.
    """
    layer.__class__ = LoraLinear4bit
    layer.__dict__.pop("forward", None)  # the fused one, which is for plain weights
