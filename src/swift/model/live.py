"""What is true of a model that lives in this process."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from swift.core.errors import Problem, UserError
from swift.model.facts import ModelFacts
from swift.model.score import is_scorer
from swift.model.skeleton import bare

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

_SAMPLES = 8
"""Numbers of each weight that the fingerprint looks at."""


def name_of(model: nn.Module) -> str:
    """Return where a live model says it comes from; "" when it says nothing."""
    adapter = next(iter(getattr(model, "peft_config", {}).values()), None)
    named = [
        getattr(adapter, "base_model_name_or_path", None),
        getattr(model, "name_or_path", None),
    ]
    return next((str(name) for name in named if name), "")


def live_facts(model: nn.Module, folder: Path | None, speech: Path) -> ModelFacts:
    """Return the facts of a live model.

    Args:
        model: A causal language model of transformers, or PEFT's wrapping of one.
        folder: Where its files are; None when nobody knows.
        speech: Where tokenizer and chat template are.

    Raises:
        UserError: It is no such model.
    """
    config: Any = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        what = f"a {type(model).__name__} is no model of transformers"
        raise UserError(
            Problem(where="model", what=what, fix="give one of AutoModelForCausalLM, or a name")
        )
    text = config.get_text_config()
    types: Counter[str] = Counter()
    for weight in model.parameters():
        types[str(weight.dtype).removeprefix("torch.")] += weight.numel()
    kind = types.most_common(1)[0][0]
    heads = text.num_attention_heads
    return ModelFacts(
        id=name_of(model) or type(model).__name__,
        folder=str(folder or ""),
        speech=str(speech),
        architecture=_class_of(model),
        model_type=config.model_type,
        parameters=sum(types.values()),
        # Packed weights are bytes: what is computed in is said by the others.
        dtype=kind if kind in ("float64", "float32", "bfloat16", "float16") else "float32",
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        context=getattr(text, "max_position_embeddings", None) or 0,
        given=fingerprint(model),
    )


def _class_of(model: Any) -> str:
    """Return the class; a scoring one was often read from files of a speaking one."""
    inner = bare(model)
    own = type(inner).__name__
    return own if is_scorer(own) else (inner.config.architectures or [own])[0]


def fingerprint(model: nn.Module) -> str:
    """Return a digest of a model's names, shapes, types and some numbers of each weight.

    Not of all numbers: hashing 14 GB would take longer than many a first step.
    """
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        flat = weight.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES]
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} {some.tolist()}".encode())
    return digest.hexdigest()[:16]
