"""What the tests of packed weights share: a model placed, or live, and its packed layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Placement, Site, strategies
from swift.quant.bnb import Bnb
from swift.run.source import ModelSource
from swift.seam.types import Need
from swift.tuner.lora import Lora

NEED: frozenset[Need] = frozenset({"logp"})


def placed(folder: Path, quant: Bnb | None, strategy: str = "none", **site: Any) -> Placement:
    source = ModelSource(
        read_facts("tiny", folder), Lora(rank=4), dtype="float32", seed=7, quant=quant
    )
    place = strategies.get(strategy)().place
    return place(source, "policy", AdamW(), 1e-2, Site(**site))


def full_model(folder: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def with_lora(model: nn.Module, **options: Any) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **options)
    made: nn.Module = get_peft_model(model, config)
    return made


def logits(model: nn.Module, *, detach: bool = True) -> Tensor:
    ids = torch.arange(24).reshape(2, 12)
    found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found.detach() if detach else found


def packed_layers(model: nn.Module) -> dict[str, Any]:
    from bitsandbytes.nn import Linear4bit

    return {n: m for n, m in model.named_modules() if isinstance(m, Linear4bit)}
