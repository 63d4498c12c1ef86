"""A model whose layers differ in width: what its cache takes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from swift.engine._torch import _bytes_per_token
from tests.model.test_families import tiny


@pytest.mark.parametrize(
    ("model_type", "numbers"),
    [
        ("llama", 2 * (2 * 8)),  # two layers of two heads, eight wide
        ("gemma4_text", 2 * 8 + 2 * 16),  # its full attention is twice as wide
    ],
)
def test_each_layer_counts_with_its_own_width(model_type: str, numbers: int) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny(model_type, 300))
    assert _bytes_per_token(model, torch.float16) == 2 * 2 * numbers  # keys and values, two bytes
