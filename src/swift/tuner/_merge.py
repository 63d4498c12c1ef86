"""A LoRA adapter added into the weights it was trained on, one weight at a time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem, nearest
from swift.model.facts import header
from swift.model.score import HEAD, WEIGHT, adds_score
from swift.model.weights import Loaded, Weights, without_bars
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


def merged(base: Weights, adapter: Path, facts: ModelFacts, model: nn.Module) -> Weights:
    """Return `base` with a PEFT adapter in it; see swift.tuner.merged."""
    config, file = read_adapter(adapter)
    if _is_plain(adapter, config, file):
        shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
        return _Added(base, file, config, shapes, getattr(torch, facts.dtype))
    return _through_peft(adapter, facts, scored=adds_score(adapter))


def changed(adapter: Path) -> frozenset[str] | None:
    """Return what a plain adapter changes; see swift.tuner.changed."""
    config, file = read_adapter(adapter)
    if not _is_plain(adapter, config, file):
        return None
    return frozenset(_changes(name) for name in header(file) if name.endswith(_A))


def _is_plain(adapter: Path, config: Mapping[str, Any], file: Path) -> bool:
    """Return whether an adapter is nothing but products B A, with a head of one number or not."""
    ends = (_A, ".lora_B.weight", *((_SCORE,) if adds_score(adapter) else ()))
    plain = all((config.get(k) or None) == (v or None) for k, v in _plain(config).items())
    return plain and all(n.endswith(ends) for n in header(file))


def _changes(stored: str) -> str:
    """Return the name of the weight that the A of that name changes."""
    return stored.removeprefix("base_model.model.").replace(".lora_A.", ".")


_A = ".lora_A.weight"

_SCORE = f"base_model.model.{WEIGHT}"
"""What PEFT calls the weight of a head of one number beside an adapter."""


def _plain(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `_PLAIN`, but of an adapter with a head of one number that it keeps such a head."""
    kept = config.get("modules_to_save")
    scores = isinstance(kept, list) and set(kept) <= {HEAD, "classifier"}
    return {**_PLAIN, "modules_to_save": kept} if scores else _PLAIN


def read_adapter(adapter: Path) -> tuple[dict[str, Any], Path]:
    """Return a PEFT adapter's configuration and its file of weights.

    Raises:
        PlanError: One of them is missing or broken.
    """
    path, file = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no map")
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(
            Problem(where=str(path), what=f"no adapter's configuration: {error}")
        ) from error
    if not file.is_file():
        what = "the adapter's weights are not there"
        fix = "save it anew with PEFT, as safetensors"
        raise PlanError(Problem(where=str(file), what=what, fix=fix))
    _check_kind(config, path, header(file))
    return config, file


def _check_kind(config: Mapping[str, Any], path: Path, names: Iterable[str]) -> None:
    """Compare what an adapter says it is with the names of its weights.

    PEFT would open one of another kind than its weights' as a fresh one, which changes nothing.

    Raises:
        PlanError: PEFT has no such kind, or the weights are of another.
    """
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    prefixes = {kind.value: prefix for kind, prefix in PEFT_TYPE_TO_PREFIX_MAPPING.items()}
    prefixes |= {"ADALORA": "lora_E"}  # beside A and B, which it shares with LoRA
    said, all_names = str(config.get("peft_type")), list(names)
    where = f"{path} peft_type"
    if said not in prefixes:
        what, fix = f"PEFT has no kind of adapter called `{said}`", nearest(said, list(prefixes))
        raise PlanError(Problem(where=where, what=what, fix=fix))
    held = [k for k, p in prefixes.items() if any(f".{p}" in name for name in all_names)]
    held = ["ADALORA"] if "ADALORA" in held else held
    if said in held or (not held and said != "LORA"):
        return
    what = f"it says {said}, but its weights are " + (f"of {held[0]}" if held else "no adapter's")
    raise PlanError(Problem(where=where, what=what, fix="save it anew with PEFT"))


def _check_scales(config: Mapping[str, Any], path: Path) -> None:
    """Compare what an adapter's configuration says of its scale with what a scale can be.

    Raises:
        PlanError: It is no number, or its pattern no map of regular expressions to numbers.
    """
    said = config.get("alpha_pattern") or {}
    patterns: dict[str, Any] = said if isinstance(said, dict) else {}
    alphas = {"lora_alpha": config.get("lora_alpha", 8)}
    alphas |= {f"alpha_pattern {pattern}": alpha for pattern, alpha in patterns.items()}
    wrong = [] if said == patterns else ["`alpha_pattern` is no map"]
    wrong += [
        f"`{key}` is {str(alpha)[:60]}, not a number"
        for key, alpha in alphas.items()
        if type(alpha) not in (int, float) or not abs(alpha) < _LARGEST
    ]
    wrong += [f"`alpha_pattern {p}` is no pattern" for p in patterns if not _compiles(p)]
    if wrong:
        fix = "save it anew with PEFT"
        raise PlanError([Problem(where=str(path), what=what, fix=fix) for what in wrong])


_LARGEST = 1e30
"""A scale beyond it leaves no number of a weight finite."""


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


class _Added:
    """W + scale B A, computed in float32 (float64 for float64), in the dtype of W."""

    def __init__(
        self,
        base: Weights,
        file: Path,
        config: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        dtype: torch.dtype,
    ) -> None:
        self._base, self._config = base, config
        _check_scales(config, file.with_name("adapter_config.json"))
        self._file: Any = safe_open(file, framework="pt", device="cpu")
        shape_of = {name: tuple(entry["shape"]) for name, entry in header(file).items()}
        self._dtype = dtype
        self._heads = {WEIGHT: _SCORE} if _SCORE in shape_of else {}
        self._names = {_changes(n): n for n in shape_of if n.endswith(_A)}
        for name, n in self._names.items():
            a, b = shape_of[n], shape_of.get(n.replace("lora_A", "lora_B"), ())
            if name not in base:
                what = f"the adapter changes `{name}`, which the base model does not have"
            elif not (len(a) == len(b) == 2 and a[0] == b[1] > 0):
                what = f"the adapter's `{name}` is no product of two matrices: {b} and {a}"
            elif shapes.get(name) != (made := (b[0], a[1])):
                what = f"the adapter's `{name}` is {made}, the base model's {shapes.get(name)}"
            else:
                continue
            raise PlanError(Problem(where=str(file), what=what, fix="give the base it belongs to"))

    def __contains__(self, name: object) -> bool:
        return name in self._heads or name in self._base

    def read(self, name: str, part: Sequence[slice] | None = None) -> Tensor:
        """Return the weight with its update, or only `part` of it."""
        if name in self._heads:
            head: Tensor = self._file.get_tensor(self._heads[name]).to(self._dtype)
            return head if part is None else head[tuple(part)]
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

    read_adapter(adapter)
    try:
        with quiet():
            wrapped: nn.Module = PeftModel.from_pretrained(
                model, str(adapter), autocast_adapter_dtype=trainable, is_trainable=trainable
            )
    except Exception as error:  # whatever stands in a configuration reaches PEFT
        said = " ".join(str(error).split())[:300] or "?"
        what = f"PEFT cannot put the adapter on this model: {type(error).__name__}: {said}"
        fix = "give the base it belongs to, or save it anew with PEFT"
        where = str(adapter / "adapter_config.json")
        raise PlanError(Problem(where=where, what=what, fix=fix)) from error
    return wrapped


def _through_peft(adapter: Path, facts: ModelFacts, *, scored: bool) -> Weights:
    """Let PEFT merge what is more than B A: the whole model is in this process."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from swift.model.allowed import may_run

    auto: Any = AutoModelForSequenceClassification if scored else AutoModelForCausalLM
    more = {"num_labels": 1} if scored else {}
    with without_bars():
        model = auto.from_pretrained(
            Path(facts.folder), dtype="auto", trust_remote_code=may_run(facts), **more
        )
    tied = model.config.tie_word_embeddings  # PEFT sets it to what the merged model is
    wrapped: Any = applied(model, adapter, False)
    whole = wrapped.merge_and_unload()
    head, embedding = whole.get_output_embeddings(), whole.get_input_embeddings()
    if tied and head is not None and not torch.equal(head.weight, embedding.weight):
        what = "the adapter keeps an output head apart from the embedding, which the base ties"
        fix = "serve it with --engine.adapter applied"
        raise PlanError(Problem(where=str(adapter), what=what, fix=fix))
    return Loaded(dict(whole.state_dict()))
