"""The weights of a Qwen v1 model under the names, and in the parts, of a Qwen2 model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swift.core.errors import PlanError, Problem
from swift.model.quirks._stored import FLOATS, Stored

_TOP = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_LAYER = {
    "ln_1": ("input_layernorm",),
    "ln_2": ("post_attention_layernorm",),
    "attn.c_attn": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.c_proj": ("self_attn.o_proj",),
    "mlp.w1": ("mlp.up_proj",),
    "mlp.w2": ("mlp.gate_proj",),
    "mlp.c_proj": ("mlp.down_proj",),
}
_LAYER_NAME = re.compile(r"transformer\.h\.(\d+)\.(.+)\.(weight|bias)")
_COMPUTED = (".inv_freq", ".attn.bias", ".masked_bias", ".logn_tensor")
"""Ends of names that early folders hold and that follow from the configuration."""


def as_qwen2(
    found: Sequence[Sequence[Stored]], config: Mapping[str, Any], folder: Path
) -> list[list[Stored]]:
    """Return the weights of each file of a v1 folder, c_attn in its three parts.

    Raises:
        PlanError: Weights lack, are unknown, or have shapes that `config` does not give them.
    """
    renamed = [[part for weight in shard for part in _parts(weight)] for shard in found]
    if config["tie_word_embeddings"]:
        renamed = [[w for w in shard if w.name != "lm_head.weight"] for shard in renamed]
    shapes = dict(_shapes(config))
    seen = {weight.name: weight for shard in renamed for weight in shard}
    unlike = {
        "is lacking": [name for name in shapes if name not in seen],
        "is unknown": [name for name in seen if name not in shapes],
        "has another shape than config.json gives it": [
            name for name, shape in shapes.items() if name in seen and seen[name].shape != shape
        ],
        "is no plain floating point": [n for n, w in seen.items() if w.dtype not in FLOATS],
    }
    problems = [
        Problem(
            where=str(folder),
            what=f"of its weights, {len(names)} {how}: the first is `{names[0]}`",
            fix="fetch the folder again",
        )
        for how, names in unlike.items()
        if names
    ]
    if problems:
        raise PlanError(problems)
    return [shard for shard in renamed if shard]


def _parts(weight: Stored) -> list[Stored]:
    """Return the Qwen2 weights that one of v1 holds; one of an unknown name as it is."""
    if weight.name.endswith(_COMPUTED):
        return []
    match = _LAYER_NAME.fullmatch(weight.name)
    parts = _LAYER.get(match[2], ()) if match else ()
    if match and parts and weight.shape and weight.shape[0] % len(parts) == 0:
        return weight.split([f"model.layers.{match[1]}.{part}.{match[3]}" for part in parts])
    return [replace(weight, name=_TOP.get(weight.name, weight.name))]


def _shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each weight that the Qwen2 model has."""
    wide, inner, words = (
        config["hidden_size"],
        config["intermediate_size"] // 2,
        config["vocab_size"],
    )
    yield "model.embed_tokens.weight", (words, wide)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (wide,)
        for part in "qkv":
            yield f"{at}.self_attn.{part}_proj.weight", (wide, wide)
            yield f"{at}.self_attn.{part}_proj.bias", (wide,)
        yield f"{at}.self_attn.o_proj.weight", (wide, wide)
        yield f"{at}.post_attention_layernorm.weight", (wide,)
        yield f"{at}.mlp.gate_proj.weight", (inner, wide)
        yield f"{at}.mlp.up_proj.weight", (inner, wide)
        yield f"{at}.mlp.down_proj.weight", (wide, inner)
    yield "model.norm.weight", (wide,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (words, wide)
