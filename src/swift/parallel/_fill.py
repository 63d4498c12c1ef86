"""Puts numbers into parameters that lie on the meta device, each rank reading its own slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

if TYPE_CHECKING:
    from swift.parallel import Source


def local(tensor: Tensor) -> Tensor:
    """Return the part of `tensor` that lies on this rank."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def place_of(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (shape, offset) of this rank's part of `tensor`."""
    if not isinstance(tensor, DTensor):
        return tuple(tensor.shape), (0,) * tensor.dim()
    shape, offset = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    return tuple(shape), tuple(offset)


def is_sharded(tensor: Tensor) -> bool:
    """Whether ranks hold different parts of `tensor`.

    Not `is_shard()`: torch 2.13's strided shards answer False to it.
    """
    return isinstance(tensor, DTensor) and not all(p.is_replicate() for p in tensor.placements)


def slices(shape: Sequence[int], offset: Sequence[int]) -> list[slice]:
    """Return one slice a dimension."""
    return [slice(o, o + n) for n, o in zip(shape, offset, strict=True)]


def fill(module: nn.Module, source: Source, device: str) -> None:
    """Give every meta parameter of `module` its value on `device`, and move the buffers there.

    `swap_tensors` keeps the identity of a parameter, and with it tied weights and what FSDP2
    remembers of it.
    """
    for name, parameter in module.named_parameters():
        if not parameter.is_meta:
            continue
        shape, offset = place_of(parameter)
        part = slices(shape, offset) if is_sharded(parameter) else None
        value = source.value(name, parameter, part).to(device).contiguous()
        if isinstance(parameter, DTensor):
            value = DTensor.from_local(
                value,
                parameter.device_mesh,
                parameter.placements,
                shape=parameter.shape,
                stride=parameter.stride(),
            )
        real = (
            value  # a packed weight, which is no plain parameter
            if isinstance(value, nn.Parameter)
            else nn.Parameter(value, requires_grad=parameter.requires_grad)
        )
        torch.utils.swap_tensors(parameter, real)  # type: ignore[no-untyped-call]
    for child in module.modules():
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = buffer.to(device)
