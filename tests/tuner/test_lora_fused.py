"""The fused LoRA layer is PEFT's, to the last digits, wherever it takes over."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from swift.tuner._lora_fused import fuse


class Net(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 9, bias=bias), nn.Linear(9, 5, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(torch.tanh(self.up(x)))
        return out


def pair(bias: bool = True, **options: object) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["up", "down"], **options)
    plain = get_peft_model(Net(bias), config).double()
    for p in plain.parameters():
        p.data.normal_()
    fused = copy.deepcopy(plain)
    fuse(fused)
    return plain, fused


def output_and_gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}])
@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (0, 6)])
def test_output_and_gradients_are_pefts(
    bias: bool, options: dict[str, bool], shape: tuple[int, ...]
) -> None:
    plain, fused = pair(bias, **options)
    x = torch.randn(shape, dtype=torch.float64)
    for theirs, ours in zip(
        output_and_gradients(plain, x), output_and_gradients(fused, x), strict=True
    ):
        assert torch.allclose(theirs, ours, rtol=1e-12, atol=1e-12)


def test_dropout_draws_what_peft_draws() -> None:
    plain, fused = pair(lora_dropout=0.5)
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.manual_seed(1)
    theirs = plain(x)
    torch.manual_seed(1)
    assert torch.equal(theirs, fused(x))


def test_a_switched_off_adapter_is_the_base() -> None:
    plain, fused = pair()
    x = torch.randn(4, 6, dtype=torch.float64)
    with plain.disable_adapter(), fused.disable_adapter():  # type: ignore[operator]
        assert torch.equal(plain(x), fused(x))


def test_under_autocast_peft_computes() -> None:
    plain, fused = pair()
    plain.float(), fused.float()
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(4, 6)
        assert torch.equal(plain(x), fused(x))
