"""InternLM2 and InternLM2.5: Llama with q, k and v in one weight, group by group.

A group is the heads of queries that share a head of keys: their rows, then the key's, the value's.

https://huggingface.co/internlm/internlm2_5-7b-chat. Ends when transformers has the model_type
`internlm2` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import QKV, Layout, Part, checked, renamed
from swift.model.quirks._llama import DEFAULTS, LAYER, is_other, llama
from swift.model.quirks._speech import speech_of
from swift.model.quirks._stored import Stored

_TOP = {
    "model.tok_embeddings.weight": "model.embed_tokens.weight",
    "model.norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of InternLM2 becomes a Llama; None for its models of reward and sight."""
    if (config.get("architectures") or ["InternLM2ForCausalLM"])[0] != "InternLM2ForCausalLM":
        return None
    defaults = {**DEFAULTS, "vocab_size": 103168, "num_key_value_heads": 32, "bias": True}
    if config.get("num_key_value_heads") is None:
        defaults["num_key_value_heads"] = config.get("num_attention_heads", 32)
    said = checked(config, defaults, folder, _impossible)
    parts: dict[str, Part] = {
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attention.wqkv": partial(_groups, said),
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.w2": "mlp.down_proj",
    }
    return Layout(
        called="InternLM2",
        config={**llama(said), "attention_bias": bool(said["bias"])},
        weights=lambda weight: renamed(weight, _TOP, LAYER, parts),
        speech=partial(speech_of, bos=True, longest=said["max_position_embeddings"], said=config),
    )


def _impossible(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    yield heads % groups != 0, f"{heads} heads are no multiple of {groups} key/value heads"
    yield from is_other(config)


def _groups(config: Mapping[str, Any], weight: Stored, at: str) -> Sequence[Stored]:
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size, each = config["hidden_size"] // heads, heads // groups
    if not weight.shape or weight.shape[0] != (heads + 2 * groups) * size:
        return [weight]
    kind = weight.name.rpartition(".")[2]
    starts = [group * (each + 2) * size for group in range(groups)]
    bounds = ((0, each), (each, each + 1), (each + 1, each + 2))
    return [
        weight.rows(f"{at}{name}.{kind}", *((s + a * size, s + b * size) for s in starts))
        for name, (a, b) in zip(QKV, bounds, strict=True)
    ]
