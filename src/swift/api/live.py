"""Live models: what a run must know of them, and adapters put on them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.env import cache_home
from swift.core.errors import PlanError, Problem, SwiftError, UserError
from swift.model.find import find_model, laid
from swift.model.live import live_facts, name_of
from swift.recipe import read
from swift.tuner.lora import Lora

if TYPE_CHECKING:
    from torch import nn

    from swift.model.facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Options of LoRA under PEFT's names; see `swift.tuner.lora.Lora`."""

    r: int = 8
    """Width of the update."""

    target_modules: str | Sequence[str] = "all-linear"
    """Layers to adapt: all-linear (all but the output head), or ends of names."""

    lora_alpha: float = 32.0
    """Scale of the update, applied as lora_alpha / r."""

    lora_dropout: float = 0.0
    """Share of the inputs dropped before the update, in [0, 1)."""


def adapted(model: nn.Module, config: LoRAConfig | Mapping[str, Any] | Any) -> Any:
    """Return `model` with a fresh adapter; see swift.api.Swift.prepare_model."""
    if hasattr(model, "peft_config"):
        what = "the model has an adapter already"
        raise UserError(Problem(where="model", what=what, fix="train it as it is"))
    if type(config).__module__.startswith("peft."):
        from peft import get_peft_model

        return get_peft_model(model, config)
    options = asdict(config) if isinstance(config, LoRAConfig) else config
    if not isinstance(options, Mapping):
        what = f"a {type(config).__name__} is no configuration of an adapter"
        raise UserError(Problem(where="config", what=what, fix="LoRAConfig(r=8), or a map"))
    lora = read(None, [("tuner", "lora"), *options.items()]).tuner
    assert isinstance(lora, Lora)
    return _attached(model, lora)


def _attached(model: nn.Module, lora: Lora) -> nn.Module:
    """Attach and fill the added weights, drawn as a run with the default seed draws them."""
    from swift.parallel._fill import fill
    from swift.run.source import ModelSource

    source = ModelSource(live_facts(model, None, Path()), lora, dtype="float32", seed=42)
    device = next(model.parameters()).device
    wrapped = lora.attach(model)
    fill(wrapped, source, str(device))
    return wrapped


def tuner_of(model: nn.Module, tokenizer: Any) -> tuple[ModelFacts, list[tuple[str, Any]]]:
    """Return what is true of a live model, and the words of a recipe that say what is trained.

    Raises:
        UserError: Nobody knows its tokenizer, or its adapter is of a kind that is not trained yet.
    """
    folder = _folder(name_of(model))
    if tokenizer is not None:
        speech = _kept(tokenizer)
    elif folder is not None:
        speech = folder
    else:
        named = name_of(model)
        what = f"the model says it is `{named}`, which" if named else "the model has no name, which"
        raise UserError(
            Problem(where="tokenizer", what=f"{what} leads to no tokenizer", fix="give tokenizer=…")
        )
    return live_facts(model, folder, speech), _tuner(model)


def _tuner(model: nn.Module) -> list[tuple[str, Any]]:
    """Return the recipe's words for the adapter that a live model has."""
    configs: Mapping[str, Any] = getattr(model, "peft_config", {})
    if not configs:
        return []
    config = configs.get("default") or next(iter(configs.values()))
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind != "LORA" or len(configs) > 1 or "default" not in configs:
        what = f"its adapters are {', '.join(f'{n} ({kind})' for n in configs)}"
        raise UserError(
            Problem(where="model", what=what, fix="one adapter of LoRA, called `default`, trains")
        )
    targets = config.target_modules
    targets = targets if isinstance(targets, str) else sorted(targets)
    # Not its name: `tuner: qlora` says more than lora, and says it of this adapter too.
    return [
        ("tuner.rank", config.r),
        ("tuner.alpha", float(config.lora_alpha)),
        ("tuner.dropout", float(config.lora_dropout)),
        ("tuner.targets", targets),
    ]


def _folder(name: str) -> Path | None:
    """Return the folder that a model's name leads to, None where it leads nowhere."""
    try:
        return find_model(name, cache_home(), local=True) if name else None
    except SwiftError:
        return None


def _kept(tokenizer: Any) -> Path:
    """Write a tokenizer of transformers into the cache, under the digest of its files."""
    if not hasattr(tokenizer, "save_pretrained"):
        what = f"a {type(tokenizer).__name__} is no tokenizer of transformers"
        raise UserError(Problem(where="tokenizer", what=what, fix="AutoTokenizer.from_pretrained"))
    with tempfile.TemporaryDirectory() as aside:
        tokenizer.save_pretrained(aside)
        files = sorted(p for p in Path(aside).iterdir() if p.is_file())
        if not (Path(aside) / "tokenizer.json").is_file():
            what = "it is a slow tokenizer: it writes no tokenizer.json"
            raise PlanError(Problem(where="tokenizer", what=what, fix="use_fast=True"))
        digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:16]
        return laid(files, cache_home(), f"tokenizers/{digest}")
