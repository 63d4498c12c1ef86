"""What layouts near to Llama share: its names, its configuration, its rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swift.model.quirks._layout import Part

TOP = {
    "model.embed_tokens.weight": "model.embed_tokens.weight",
    "model.norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
"""Names outside the layers."""

LAYER = r"model\.layers\.(\d+)\."
"""What comes before a part of a layer."""

AS_LLAMA: Mapping[str, Part] = {
    part: part
    for part in (
        "input_layernorm",
        "post_attention_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
}
"""Parts of a layer that keep their names."""

DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
"""What configuration classes made from llama's first one say where config.json is silent."""


def rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the native words for rotary positions.

    `dynamic` scaling acts on texts longer than max_position_embeddings alone, which is where the
    rewritten model ends: it has no place there.
    """
    scaling = config.get("rope_scaling") or {}
    words: dict[str, Any] = {"rope_theta": float(config["rope_theta"])}
    kind = scaling.get("type", scaling.get("rope_type"))
    if kind == "linear":
        words["rope_scaling"] = {"rope_type": "linear", "factor": float(scaling["factor"])}
    if kind == "longrope":
        words["rope_scaling"] = {"rope_type": "longrope", **{k: scaling[k] for k in _LONG}}
    return words


_LONG = ("short_factor", "long_factor", "original_max_position_embeddings")


def rotary_is_strange(config: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether positions are scaled in a way that `rotary` does not write down, and how."""
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("type", scaling.get("rope_type")) if isinstance(scaling, dict) else scaling
    known = not scaling or kind == "dynamic" or (kind == "linear" and "factor" in scaling)
    if kind == "longrope":  # beyond the original length, code and transformers scale differently
        known = set(_LONG) <= set(scaling) and (
            scaling[_LONG[2]] == config["max_position_embeddings"]
        )
    return not known, f"`rope_scaling: {scaling}` is not known here"


def llama(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a Llama of the sizes in `config`, which has llama's own keys."""
    heads = config["num_attention_heads"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["intermediate_size"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "hidden_act": "silu",
        "max_position_embeddings": config["max_position_embeddings"],
        "rms_norm_eps": config["rms_norm_eps"],
        "initializer_range": config["initializer_range"],
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": config["tie_word_embeddings"],
        **rotary(config),
    }


def is_other(config: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Return the pairs for `checked` that hold for every layout with llama's keys."""
    wide, heads = config["hidden_size"], config["num_attention_heads"]
    return [
        (wide % heads != 0, f"`hidden_size` {wide} is no multiple of the {heads} heads"),
        (config["hidden_act"] != "silu", f"`hidden_act: {config['hidden_act']}` is not silu"),
        rotary_is_strange(config),
    ]
