"""XVERSE (7B, 13B, 65B): Llama under another name.

https://huggingface.co/xverse/XVERSE-13B. Ends when transformers has the model_type `xverse` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import Layout, checked, renamed
from swift.model.quirks._llama import AS_LLAMA, DEFAULTS, LAYER, TOP, is_other, llama
from swift.model.quirks._speech import speech_of

_NAMES = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of XVERSE becomes a Llama; None for its mixtures of experts."""
    if "num_experts" in config:
        return None
    defaults = {**DEFAULTS, "vocab_size": 100278, "max_position_embeddings": 8192}
    said = checked(config, defaults, folder, is_other)
    return Layout(
        called="XVERSE",
        config=llama(said),
        weights=lambda weight: renamed(weight, TOP, LAYER, AS_LLAMA),
        speech=partial(
            speech_of,
            names=_NAMES,
            bos=False,
            longest=said["max_position_embeddings"],
            said=config,
        ),
    )
