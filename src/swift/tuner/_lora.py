"""LoRA with PEFT's modules."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from swift.core.env import ranks
from swift.core.errors import PlanError, Problem, nearest
from swift.tuner._lora_fused import fuse
from swift.tuner._quiet import quiet

if TYPE_CHECKING:
    from swift.tuner.lora import Lora


def attach(model: nn.Module, options: Lora) -> nn.Module:
    """Wrap `model`; the added weights lie on the meta device until the placement fills them."""
    targets = _targets(model, options.targets)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        with quiet():
            peft = get_peft_model(
                model, config, low_cpu_mem_usage=True, autocast_adapter_dtype=False
            )
    except ValueError as error:
        what = f"{targets} fits no layer: {error}"
        raise PlanError(Problem(where="tuner.targets", what=what)) from error
    fuse(peft)
    return cast(nn.Module, peft)


def _targets(model: nn.Module, said: str | Sequence[str]) -> str | list[str]:
    """Return the layers that are meant; each name must fit one, or one that it is part of."""
    if said == "all-linear":
        return "all-linear"
    wanted = [said] if isinstance(said, str) else list(said)
    layers = [
        n
        for n, m in model.named_modules()
        if n and not list(m.children()) and not isinstance(m, nn.Embedding)
    ]
    missing = [t for t in wanted if not any(n == t or n.endswith(f".{t}") for n in layers)]
    fused = [t for t in missing if t in _FUSED[1] and any(n.endswith(_FUSED[0]) for n in layers)]
    if fused:
        missing = [t for t in missing if t not in fused]
        wanted = [*(t for t in wanted if t not in fused), _FUSED[0].removeprefix(".")]
        if ranks().rank == 0:
            text = (
                f"note: {', '.join(fused)} are one layer here, `{wanted[-1]}`, which is adapted\n"
            )
            sys.stderr.write(text)
    if missing:
        names = sorted({n.rsplit(".", 1)[-1] for n in layers if "proj" in n or "attn" in n}) or [
            *{n.rsplit(".", 1)[-1] for n in layers}
        ]
        raise PlanError(
            [
                Problem(
                    where="tuner.targets", what=f"no layer is called `{t}`", fix=nearest(t, names)
                )
                for t in missing
            ]
        )
    return wanted


_FUSED = (".c_attn", ("q_proj", "k_proj", "v_proj"))
"""Qwen's first models, as their own code opens them, keep query, key and value in one layer."""


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
    name = name.removeprefix("base_model.model.")
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
