"""A LoRA adapter added into the weights it was trained on, one weight at a time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from torch import Tensor, nn

from swift.model.facts import header
from swift.model.weights import Loaded, Weights
from swift.tuner._quiet import quiet

if TYPE_CHECKING:
    from swift.model.facts import ModelFacts

_PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA",
    "use_dora": False,
    "bias": "none",
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "layer_replication": None,
    "lora_bias": False,
    "trainable_token_indices": None,
    "target_parameters": None,
}
"""What an adapter must say (or leave out) to be nothing but scaled products B A."""


def merged(base: Weights, adapter: Path, facts: ModelFacts) -> Weights:
    """Return `base` with a PEFT adapter in it; see swift.tuner.merged."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    file = adapter / "adapter_model.safetensors"
    if file.is_file() and all((config.get(k) or None) == (v or None) for k, v in _PLAIN.items()):
        return _Added(base, file, config)
    return _through_peft(adapter, facts)


class _Added:
    """W + scale B A, computed in float32 (float64 for float64), in the dtype of W."""

    def __init__(self, base: Weights, file: Path, config: Mapping[str, Any]) -> None:
        self._base, self._config = base, config
        self._file: Any = safe_open(file, framework="pt", device="cpu")
        stored = [n for n in header(file) if n.endswith(".lora_A.weight")]
        self._names = {
            n.removeprefix("base_model.model.").replace(".lora_A.", "."): n for n in stored
        }
        lost = [n for n in self._names if n not in base]
        if lost:
            from swift.core.errors import PlanError, Problem

            what = f"the adapter changes `{lost[0]}`, which the base model does not have"
            raise PlanError(Problem(where=str(file), what=what, fix="give the base it belongs to"))

    def __contains__(self, name: object) -> bool:
        return name in self._base

    def read(self, name: str, part: Sequence[slice] | None = None) -> Tensor:
        """Return the weight with its update, or only `part` of it."""
        weight = self._base.read(name, part)
        if name not in self._names:
            return weight
        wide = weight.double() if weight.dtype.itemsize == 8 else weight.float()
        a = self._file.get_tensor(self._names[name]).to(wide.dtype)
        b = self._file.get_tensor(self._names[name].replace("lora_A", "lora_B")).to(wide.dtype)
        if part is not None:
            b, a = b[part[0]], a[:, part[1]]
        whole: Tensor = wide + self._scale(name, a.shape[0]) * (b @ a)
        return whole.to(weight.dtype)

    def _scale(self, name: str, rank: int) -> float:
        module = name.removesuffix(".weight")
        alpha: float = self._config.get("lora_alpha", 8)
        for pattern, value in (self._config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        return alpha / (math.sqrt(rank) if self._config.get("use_rslora") else rank)


def applied(model: nn.Module, adapter: Path, trainable: bool) -> nn.Module:
    """Return `model` with PEFT's modules beside its weights; see swift.tuner.applied."""
    from peft import PeftModel

    with quiet():
        wrapped: nn.Module = PeftModel.from_pretrained(
            model, str(adapter), autocast_adapter_dtype=trainable, is_trainable=trainable
        )
    return wrapped


def _through_peft(adapter: Path, facts: ModelFacts) -> Weights:
    """Let PEFT merge what is more than B A: the whole model is in this process."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(Path(facts.folder), dtype="auto")
    wrapped: Any = applied(model, adapter, False)
    return Loaded(dict(wrapped.merge_and_unload().state_dict()))
