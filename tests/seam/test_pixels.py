"""What only the model understands passes the seam untouched: a tiny Qwen2-VL and given pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from swift.seam.logprobs import LogProbs
from swift.seam.types import IGNORE
from swift.tuner.lora import Lora
from tests.kit import worst

IMAGE, BEGIN, END = 60, 62, 63
IDS = torch.tensor([[5, 6, BEGIN, *[IMAGE] * 6, END, 7, 8, 9, 10, 11]])
LABELS = torch.where(torch.arange(15) < 10, IGNORE, IDS.roll(-1)).index_fill(
    1, torch.tensor([14]), IGNORE
)
SIDE = 4
"""Pixels along a patch; two by two patches are one token."""


def inputs() -> dict[str, Tensor]:
    """Return a row with an image of 4 x 6 patches."""
    draw = torch.Generator().manual_seed(1)
    return {
        "input_ids": IDS,
        "mm_token_type_ids": (IDS == IMAGE).long(),
        "pixel_values": torch.randn(24, 3 * 2 * SIDE**2, generator=draw, dtype=torch.float64),
        "image_grid_thw": torch.tensor([[1, 4, 6]]),
    }


@pytest.fixture(params=["full", "lora"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": SIDE,
        },
        image_token_id=IMAGE,
        vision_start_token_id=BEGIN,
        vision_end_token_id=END,
    )
    made: nn.Module = Qwen2VLForConditionalGeneration(config).double()
    if request.param == "lora":
        made = Lora(rank=4).attach(made)
    for p in made.parameters():
        if p.is_meta:  # an adapter's
            value = torch.randn(p.shape, dtype=torch.float64) * 0.3
            torch.utils.swap_tensors(p, nn.Parameter(value))  # type: ignore[no-untyped-call]
        elif p.dim() > 1:
            nn.init.normal_(p, 0, 0.3)
    return made


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients of what is trained, and forget them."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in trained.items()}
    model.zero_grad()
    return found


def test_the_answers_and_gradients_are_those_of_the_models_own_logits(model: nn.Module) -> None:
    logits_TV = model(**inputs()).logits[0]
    at = LABELS[0] != IGNORE
    plain_N = logits_TV.log_softmax(-1)[at].gather(1, LABELS[0][at][:, None])[:, 0]
    plain_N.sum().backward()
    wanted = gradients(model)
    assert any("visual" in name and g.abs().max() > 0 for name, g in wanted.items())
    seam = LogProbs(model)
    for _ in range(2):  # the first call also asks what the model makes of its logits
        out = seam(inputs(), LABELS, frozenset({"logp"}))
        torch.testing.assert_close(out.logp_N, plain_N, rtol=0, atol=1e-12)
        out.logp_N.sum().backward()
        largest = max(float(g.abs().max()) for g in wanted.values())
        assert worst(gradients(model), wanted) < 1e-12 * largest


def test_the_model_is_given_the_very_pixels(model: nn.Module) -> None:
    seen: list[dict[str, Any]] = []
    model.register_forward_pre_hook(lambda _, args, given: seen.append(given), with_kwargs=True)
    given = inputs()
    LogProbs(model)(given, LABELS, frozenset({"logp"}))
    assert all(seen[0][name] is value for name, value in given.items())


def test_other_pixels_make_other_answers(model: nn.Module) -> None:
    seam, other = LogProbs(model), inputs()
    other["pixel_values"] = other["pixel_values"].flip(0)
    one, two = (seam(g, LABELS, frozenset({"logp"})).logp_N for g in (inputs(), other))
    assert (one - two).abs().max() > 1e-3
