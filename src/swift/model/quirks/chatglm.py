"""ChatGLM2, ChatGLM3, GLM-4-9B, CodeGeeX2 and 4: GLM with q, k and v in one weight.

The first ChatGLM has positions in two dimensions and sees its prompt from both sides: no native
architecture does that. A text longer than the first eight thousand tokens is reached in two ways
by `rope_ratio`: ChatGLM2 divides positions by it, the later ones multiply the base of rotation.

https://huggingface.co/THUDM/chatglm3-6b. Ends when transformers has the model_type `chatglm`
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.chat._special import read_json
from swift.model.quirks._layout import QKV, Layout, Part, Speech, checked, in_parts, renamed
from swift.model.quirks._sentencepiece import fast_tokenizer, read_pieces
from swift.model.quirks._speech import kept, speech_of, template_of, tokenizer_config
from swift.model.quirks._tiktoken import WORDS, read_ranks
from swift.model.quirks._tiktoken import fast_tokenizer as bytewise_tokenizer

_DEFAULTS: dict[str, Any] = {
    "num_layers": 28,
    "padded_vocab_size": 65024,
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "kv_channels": 128,
    "num_attention_heads": 32,
    "multi_query_group_num": 1,
    "seq_length": 2048,
    "layernorm_epsilon": 1e-5,
    "rope_ratio": 1.0,
    "attention_dropout": 0.0,
    "rmsnorm": True,
    "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False,
    "add_bias_linear": False,
    "add_qkv_bias": False,
    "multi_query_attention": False,
    "tie_word_embeddings": False,
}
_NEEDED = {
    "rmsnorm": True,
    "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False,
    "add_bias_linear": False,
    "multi_query_attention": True,
}
_TOP = {
    "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "transformer.encoder.final_layernorm.weight": "model.norm.weight",
    "transformer.output_layer.weight": "lm_head.weight",
}
_AFTER = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")
"""What follows the pieces. ChatGLM2 and 3 write `sop`, which words have inside; GLM-4 `<sop>`."""

_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of ChatGLM becomes a GLM; None for the first and those with eyes."""
    if "ffn_hidden_size" not in config or "vision_config" in config:
        return None
    said = checked(config, _DEFAULTS, folder, _impossible)
    sizes = [said["kv_channels"] * said[key] for key in ("num_attention_heads", *_GROUPS)]
    parts: dict[str, Part] = {
        "input_layernorm": "input_layernorm",
        "post_attention_layernorm": "post_attention_layernorm",
        "self_attention.query_key_value": in_parts(QKV, sizes),
        "self_attention.dense": "self_attn.o_proj",
        "mlp.dense_h_to_4h": "mlp.gate_up_proj",
        "mlp.dense_4h_to_h": "mlp.down_proj",
    }
    layers = r"transformer\.encoder\.layers\.(\d+)\."
    return Layout(
        called="ChatGLM",
        config=_as_glm(said, second=_divides(folder)),
        weights=lambda weight: renamed(weight, _TOP, layers, parts),
        speech=partial(_speech, said),
    )


_GROUPS = ("multi_query_group_num", "multi_query_group_num")


def _impossible(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    for key, needed in _NEEDED.items():
        yield config[key] is not needed, f"`{key}: {str(config[key]).lower()}` has no place in GLM"


def _as_glm(config: Mapping[str, Any], *, second: bool) -> dict[str, Any]:
    ratio = float(config["rope_ratio"])
    words: dict[str, Any] = {"rope_theta": 10000.0 * (1.0 if second else ratio)}
    if second and ratio != 1:
        words["rope_scaling"] = {"rope_type": "linear", "factor": ratio}
    return {
        "architectures": ["GlmForCausalLM"],
        "model_type": "glm",
        "vocab_size": config["padded_vocab_size"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["ffn_hidden_size"],
        "num_hidden_layers": config["num_layers"],
        "num_attention_heads": config["num_attention_heads"],
        "num_key_value_heads": config["multi_query_group_num"],
        "head_dim": config["kv_channels"],
        "hidden_act": "silu",
        "max_position_embeddings": config["seq_length"],
        "rms_norm_eps": config["layernorm_epsilon"],
        "attention_bias": bool(config["add_qkv_bias"]),
        "attention_dropout": config["attention_dropout"],
        "partial_rotary_factor": 0.5,
        "pad_token_id": None,  # else it is GLM-4's
        "tie_word_embeddings": config["tie_word_embeddings"],
        **words,
    }


def _divides(folder: Path) -> bool:
    """Return whether the folder's code divides positions by rope_ratio; the code is only read."""
    return "/ self.rope_ratio" in _text(folder / "modeling_chatglm.py")


def _speech(config: Mapping[str, Any], folder: Path) -> Speech:
    if (folder / "tokenizer.json").is_file():
        return speech_of(folder, bos=False, longest=config["seq_length"], said=config)
    path = folder / "tokenizer.model"
    bytewise = path.is_file() and b"\0" not in path.read_bytes()[:4096]
    return _of_ranks(config, folder) if bytewise else _of_pieces(config, folder)


def _of_pieces(config: Mapping[str, Any], folder: Path) -> Speech:
    """Return the speech of ChatGLM2 and 3."""
    path = folder / "tokenizer.model"
    pieces = read_pieces(path)
    said = _text(folder / "tokenization_chatglm.py") + _text(folder / "tokenizer_config.json")
    after = (*_AFTER, *(_ROLES if _ROLES[1] in said else ()))
    special = {text: len(pieces.texts) + i for i, text in enumerate(after)}
    special |= {text: i for i, text in enumerate(pieces.texts[:3]) if text in ("<unk>", "</s>")}
    tokenizer = fast_tokenizer(pieces, path, special, begin=("[gMASK]", "<sop>"))
    return _told(config, folder, tokenizer, special, end="</s>", pad="<unk>")


def _of_ranks(config: Mapping[str, Any], folder: Path) -> Speech:
    """Return the speech of GLM-4."""
    ranks = read_ranks(folder / "tokenizer.model")
    first = max(ranks.values()) + 1
    table = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder")
    if isinstance(table, dict):
        special = {token["content"]: int(number) for number, token in table.items()}
    else:
        special = {text: first + i for i, text in enumerate((_END, *_AFTER, *_ROLES))}
    words = WORDS.format(digits=r"\p{N}{1,3}")
    tokenizer = bytewise_tokenizer(ranks, special, words, begin=("[gMASK]", "<sop>"))
    return _told(config, folder, tokenizer, special, end=_END, pad=_END)


_END = "<|endoftext|>"


def _told(
    config: Mapping[str, Any],
    folder: Path,
    tokenizer: Mapping[str, Any],
    special: Mapping[str, int],
    *,
    end: str,
    pad: str,
) -> Speech:
    number = config.get("eos_token_id")
    ids = {
        "eos_token_id": number if isinstance(number, int | list) else special[end],
        "pad_token_id": special[pad],
    }
    said = read_json(folder / "tokenizer_config.json")
    return Speech(
        tokenizer=tokenizer,
        config=tokenizer_config({"eos_token": end, "pad_token": pad}, config["seq_length"]),
        generation=kept(read_json(folder / "generation_config.json"), ids),
        ids=ids,
        template=template_of(folder, said).replace("[gMASK]sop", "[gMASK]<sop>"),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
