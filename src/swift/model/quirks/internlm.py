"""InternLM's first models (7B, 20B): Llama with a bias on all four projections of attention.

https://huggingface.co/internlm/internlm-chat-7b. Ends when transformers has the model_type
`internlm` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import Layout, checked, renamed
from swift.model.quirks._llama import AS_LLAMA, DEFAULTS, LAYER, TOP, is_other, llama
from swift.model.quirks._speech import speech_of


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of InternLM becomes a Llama."""
    defaults = {**DEFAULTS, "vocab_size": 103168, "bias": True}
    said = checked(config, defaults, folder, _impossible)
    rotary = said.get("rotary") or {}
    said["rope_theta"] = float(rotary.get("base", said["rope_theta"]))
    return Layout(
        called="InternLM",
        config={**llama(said), "attention_bias": bool(said["bias"])},
        weights=lambda weight: renamed(weight, TOP, LAYER, AS_LLAMA),
        speech=partial(speech_of, bos=True, longest=said["max_position_embeddings"], said=config),
    )


def _impossible(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    kind = (config.get("rotary") or {}).get("type", "origin")
    yield kind not in ("origin", "dynamic"), f"`rotary: {kind}` is not known here"
    yield from is_other(config)
