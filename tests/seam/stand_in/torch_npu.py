"""Stands in for Ascend's plug-in: torch then knows a device `npu`, which has no kernels.

Fake tensors can lie on it, so that a step may be traced. torch brings the means for that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import backend_registration

GIB = 2**30


class Npu:
    """What torch.npu is: the module of the device."""

    state = torch.arange(8, dtype=torch.uint8)
    device = 0

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return Npu.device

    def device_count(self) -> int:
        return 2

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        Npu.state = torch.full((8,), seed % 256, dtype=torch.uint8)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def is_bf16_supported(self) -> bool:
        return True

    def get_rng_state(self) -> torch.Tensor:
        return Npu.state.clone()

    def set_rng_state(self, state: torch.Tensor) -> None:
        Npu.state = state.clone()


class Guard(torch._C._acc.DeviceGuard):
    def type_(self) -> Any:
        return torch._C._autograd.DeviceType.PrivateUse1


module = Npu()
backend_registration._setup_privateuseone_for_python_backend("npu", backend_module=module)
autocast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")  # type: ignore[no-untyped-call]
autocast.fallback(torch.library.fallthrough_kernel)  # type: ignore[no-untyped-call]


def npu_fusion_attention(*_: Any, **__: Any) -> Any:
    """Is imported by transformers wherever there is a torch_npu; nothing here calls it."""
    raise NotImplementedError


npu_rotary_mul = npu_fusion_attention
