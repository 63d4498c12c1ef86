"""XVERSE (7B, 13B, 65B): Llama under another name.

The one for 256 thousand tokens writes its base of rotation into its code, where it is read.

https://huggingface.co/xverse/XVERSE-13B. Ends when transformers has the model_type `xverse` itself.
"""

from __future__ import annotations

import re
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
    said = checked({**_rotation(folder), **config}, defaults, folder, is_other)
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


def _rotation(folder: Path) -> dict[str, Any]:
    """Return the base that the folder's code sets by itself; the code is only read."""
    code = folder / "modeling_xverse.py"
    text = code.read_text(encoding="utf-8") if code.is_file() else ""
    found = re.search(
        r"class XverseRotaryEmbedding\b[^:]*:\s*def __init__\([^)]*\bbase=(\d+)", text
    )
    return {"rope_theta": float(found[1])} if found and "config.rope_theta" not in text else {}
