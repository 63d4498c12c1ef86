"""MiniCPM's first models (1B, 2B): Llama with four scales, which Granite has, too.

The embedding is multiplied by `scale_emb`, each branch by `scale_depth` over the root of the
layers, and the last state is divided by `hidden_size` over `dim_model_base` before the head.

https://huggingface.co/openbmb/MiniCPM-2B-sft-bf16. Ends when transformers has the model_type
`minicpm` itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import Layout, checked, renamed
from swift.model.quirks._llama import AS_LLAMA, DEFAULTS, LAYER, TOP, is_other, llama
from swift.model.quirks._speech import speech_of

_ELSE = ("num_experts", "sparse_config", "sparse_attention_config", "vision_config", "kv_lora_rank")
"""Keys of relatives that compute something else: experts, sparse attention, sight, latent keys."""


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of MiniCPM becomes a Granite; None for its relatives."""
    if any(config.get(key) is not None for key in _ELSE):
        return None
    defaults = {
        **DEFAULTS,
        "vocab_size": 32000,
        "tie_word_embeddings": True,
        "scale_emb": 1.0,
        "scale_depth": 1.0,
        "dim_model_base": 1,
    }
    said = checked(config, defaults, folder, is_other)
    wide = said["hidden_size"]
    return Layout(
        called="MiniCPM",
        config={
            **llama(said),
            "architectures": ["GraniteForCausalLM"],
            "model_type": "granite",
            "embedding_multiplier": float(said["scale_emb"]),
            "residual_multiplier": said["scale_depth"] / math.sqrt(said["num_hidden_layers"]),
            "attention_multiplier": (wide // said["num_attention_heads"]) ** -0.5,
            "logits_scaling": wide / said["dim_model_base"],
        },
        weights=lambda weight: renamed(weight, TOP, LAYER, AS_LLAMA),
        speech=partial(speech_of, bos=True, longest=said["max_position_embeddings"], said=config),
    )
