"""LoRA with PEFT's modules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from swift.core.errors import PlanError, Problem
from swift.model.score import is_scorer
from swift.tuner._lora_fused import fuse
from swift.tuner._quiet import quiet
from swift.tuner._targets import chosen, tell_packed

if TYPE_CHECKING:
    from swift.tuner.lora import Lora


def attach(model: nn.Module, options: Lora) -> nn.Module:
    """Wrap `model`; the added weights lie on the meta device until the placement fills them."""
    targets, left_out = chosen(model, options.targets)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        exclude_modules=left_out,
        # PEFT trains and saves the head of a sequence classifier beside the adapters.
        task_type="SEQ_CLS" if is_scorer(type(model).__name__) else "CAUSAL_LM",
    )
    try:
        with quiet():
            peft = get_peft_model(
                model, config, low_cpu_mem_usage=True, autocast_adapter_dtype=False
            )
    except ValueError as error:
        what = f"{targets} fits no layer: {error}"
        raise PlanError(Problem(where="tuner.targets", what=what)) from error
    if options.targets == "all-linear":
        tell_packed(peft)
    fuse(peft)
    return cast(nn.Module, peft)


def initial(name: str, like: Tensor, random: Generator) -> Tensor | None:
    """Kaiming-uniform A with a = sqrt 5, i.e. U(-1/sqrt(in), 1/sqrt(in)); zero B."""
    if ".lora_A." in name:
        bound = 1 / math.sqrt(like.shape[1])
        return torch.empty(like.shape, dtype=torch.float32).uniform_(
            -bound, bound, generator=random
        )
    if ".lora_B." in name:
        return torch.zeros(like.shape, dtype=torch.float32)
    return None


def canonical(name: str) -> str:
    """`base_model.model.X.base_layer.weight` -> `X.weight`; adapters lose their `.default`."""
    if ".lora_A." in name or ".lora_B." in name:
        return name.replace(".default.", ".")
    if ".modules_to_save.default." in name:
        return name.replace(".modules_to_save.default.", ".")
    name = name.removeprefix("base_model.model.").replace(".original_module.", ".")
    while ".base_layer." in name:  # two of them around experts: one for each packed matrix
        name = name.replace(".base_layer.", ".")
    return name


@contextmanager
def off(model: nn.Module) -> Iterator[None]:
    """Bypass the adapters without touching requires_grad, which PEFT's own context flips.

    A placed module must not see its trainable set change between two forwards.
    """
    layers: list[Any] = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def save(weights: Iterable[tuple[str, Tensor]], model: nn.Module, folder: Path, base: str) -> None:
    """Write PEFT's two files; the base is named by `base`, a folder transformers opens."""
    tensors = {name: w.detach().cpu().contiguous() for name, w in weights}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"]  # type: ignore[index]
    config.base_model_name_or_path = base  # type: ignore[union-attr]
    config.inference_mode = True  # type: ignore[union-attr]
    config.save_pretrained(str(folder))  # type: ignore[union-attr]
    config.inference_mode = False  # type: ignore[union-attr]
