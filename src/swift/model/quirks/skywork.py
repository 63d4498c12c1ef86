"""Skywork-13B: Llama under another name.

https://huggingface.co/Skywork/Skywork-13B-base. Ends when transformers has the model_type `skywork`
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import Layout, checked, renamed
from swift.model.quirks._llama import AS_LLAMA, DEFAULTS, LAYER, TOP, is_other, llama
from swift.model.quirks._speech import speech_of


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of Skywork becomes a Llama; None for its mixtures of experts."""
    if "num_experts" in config:
        return None
    said = checked(config, {**DEFAULTS, "vocab_size": 65519}, folder, is_other)
    return Layout(
        called="Skywork",
        config=llama(said),
        weights=lambda weight: renamed(weight, TOP, LAYER, AS_LLAMA),
        speech=partial(speech_of, bos=True, longest=said["max_position_embeddings"], said=config),
    )
