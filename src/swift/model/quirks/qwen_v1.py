"""Qwen's first models (Qwen-7B, Qwen-14B, ...), rewritten as Qwen2 models.

The arithmetic is the same: RMS norms, rotary positions on whole heads, a bias on q, k and v alone,
and `c_proj(w1(x) * silu(w2(x)))`: v1's w2 is the gate. Two of its switches act only on texts longer
than `seq_length`, `use_dynamic_ntk` (wider rotary frequencies) and `use_logn_attn` (scaled
queries); the rewritten model names `seq_length` as its longest text, so they have no place in it.

https://huggingface.co/Qwen/Qwen-7B. Ends when transformers has the model_type `qwen` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.chat._special import read_json
from swift.core.errors import PlanError, Problem
from swift.model.quirks._layout import QKV, Layout, Part, Speech, checked, in_parts, renamed
from swift.model.quirks._tiktoken import WORDS, Ranks, fast_tokenizer, read_ranks

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "kv_channels": 128,
    "seq_length": 8192,
    "layer_norm_epsilon": 1e-6,
    "rotary_emb_base": 10000.0,
    "rotary_pct": 1.0,
    "initializer_range": 0.02,
    "attn_dropout_prob": 0.0,
    "no_bias": True,
    "tie_word_embeddings": False,
}
_MORE = ("visual", "audio")
"""Keys of Qwen-VL and Qwen-Audio, which call themselves by the same family."""

_END, _TURN_END = "<|endoftext|>", "<|im_end|>"
_SPECIAL = (_END, "<|im_start|>", _TURN_END, *(f"<|extra_{i}|>" for i in range(205)))

_TOP = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of Qwen v1 becomes a Qwen2 model; None for those with eyes or ears."""
    if any(key in config for key in _MORE):
        return None
    said = checked(config, _DEFAULTS, folder, _impossible)
    wide = said["hidden_size"]
    parts: dict[str, Part] = {
        "ln_1": "input_layernorm",
        "ln_2": "post_attention_layernorm",
        "attn.c_attn": in_parts(QKV, (wide, wide, wide)),
        "attn.c_proj": "self_attn.o_proj",
        "mlp.w1": "mlp.up_proj",
        "mlp.w2": "mlp.gate_proj",
        "mlp.c_proj": "mlp.down_proj",
    }
    return Layout(
        called="Qwen v1",
        config=_as_qwen2(said),
        weights=lambda weight: renamed(weight, _TOP, r"transformer\.h\.(\d+)\.", parts),
        speech=partial(_speech, said),
    )


def _impossible(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    width = config["kv_channels"] * config["num_attention_heads"]
    yield (
        width != config["hidden_size"],
        f"`kv_channels` times the heads is {width}, but `hidden_size` {config['hidden_size']}",
    )
    yield not config["no_bias"], "`no_bias: false` has no place in a Qwen2 model"
    yield config["rotary_pct"] != 1.0, f"`rotary_pct: {config['rotary_pct']}` is not 1.0"
    yield config["intermediate_size"] % 2 == 1, "`intermediate_size` is odd; v1 counts both halves"


def _as_qwen2(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["intermediate_size"] // 2,
        "num_hidden_layers": config["num_hidden_layers"],
        "num_attention_heads": config["num_attention_heads"],
        "num_key_value_heads": config["num_attention_heads"],
        "hidden_act": "silu",
        "max_position_embeddings": config["seq_length"],
        "rope_theta": float(config["rotary_emb_base"]),
        "rms_norm_eps": config["layer_norm_epsilon"],
        "initializer_range": config["initializer_range"],
        "attention_dropout": config["attn_dropout_prob"],
        "use_sliding_window": False,
        "tie_word_embeddings": config["tie_word_embeddings"],
    }


def _speech(config: Mapping[str, Any], folder: Path) -> Speech:
    ranks = read_ranks(folder / "qwen.tiktoken")
    special = _special(ranks, config["vocab_size"], folder)
    said = read_json(folder / "generation_config.json")
    end = _TURN_END if said.get("chat_format") == "chatml" else _END
    return Speech(
        tokenizer=fast_tokenizer(ranks, special, WORDS.format(digits=r"\p{N}"), normalizer="NFC"),
        config={
            # Not Qwen2's class: transformers would put that one's own pre-tokenizer into the
            # file's place.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": end,
            "pad_token": _END,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["seq_length"],
        },
        generation=_generation(said, special, end),
        ids={"eos_token_id": special[end], "pad_token_id": special[_END]},
        template=Path(__file__).with_suffix(".jinja").read_text(encoding="utf-8"),
    )


def _special(ranks: Ranks, rows: int, folder: Path) -> dict[str, int]:
    """Return the ids of the special tokens: they follow the ranks."""
    first = max(ranks.values()) + 1
    if first + len(_SPECIAL) > rows:
        what = (
            f"qwen.tiktoken and the special tokens take {first + len(_SPECIAL)} ids, but "
            f"`vocab_size` is {rows}"
        )
        raise PlanError(Problem(where=str(folder), what=what, fix="fetch the folder again"))
    return {text: first + i for i, text in enumerate(_SPECIAL)}


def _generation(said: Mapping[str, Any], special: Mapping[str, int], end: str) -> dict[str, Any]:
    """Return v1's sampling, and both tokens that end an answer, the model's own first."""
    kept = ("do_sample", "max_new_tokens", "repetition_penalty", "temperature", "top_k", "top_p")
    both = (end, _END if end == _TURN_END else _TURN_END)
    return {
        **{name: said[name] for name in kept if name in said},
        "eos_token_id": [special[text] for text in both],
        "pad_token_id": special[_END],
    }
