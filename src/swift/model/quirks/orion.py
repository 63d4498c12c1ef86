"""Orion-14B: Llama with layer norms, bias and all, in place of RMS norms: a StableLM.

StableLM turns a part of each head by default and here the whole of it. What Orion calls
`rms_norm_eps` is the epsilon of its layer norms.

https://huggingface.co/OrionStarAI/Orion-14B-Chat. Ends when transformers has the model_type `orion`
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import Layout, checked, renamed
from swift.model.quirks._llama import AS_LLAMA, DEFAULTS, LAYER, TOP, is_other, llama
from swift.model.quirks._speech import speech_of

_TOP = {**TOP, "model.norm.bias": "model.norm.bias"}


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of Orion becomes a StableLM."""
    defaults = {**DEFAULTS, "vocab_size": 84608, "rms_norm_eps": 1e-5}
    said = checked(config, defaults, folder, _impossible)
    unlike = ("architectures", "model_type", "rms_norm_eps", "attention_bias", "mlp_bias")
    same = {key: word for key, word in llama(said).items() if key not in unlike}
    return Layout(
        called="Orion",
        config={
            "architectures": ["StableLmForCausalLM"],
            "model_type": "stablelm",
            **same,
            "layer_norm_eps": said["rms_norm_eps"],
            "partial_rotary_factor": 1.0,
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
        },
        weights=lambda weight: renamed(weight, _TOP, LAYER, AS_LLAMA),
        speech=partial(speech_of, bos=True, longest=said["max_position_embeddings"], said=config),
    )


def _impossible(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    yield bool(config.get("attention_bias")), "`attention_bias: true` has no place in a StableLM"
    yield from is_other(config)
