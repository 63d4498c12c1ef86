"""How a model wants to be sampled when a request does not say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (1e-9, 1.0),
    "top_k": (0, 2**31),
}


def sampling_defaults(folder: Path) -> dict[str, float]:
    """Return temperature, top_p and top_k of generation_config.json, as far as it has sound ones.

    A model that says `do_sample: false` names no temperature of its own: then OpenAI's 1.0 holds.
    """
    try:
        said = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict) or said.get("do_sample") is False:
        return {}
    return {
        name: value
        for name, (low, high) in _BOUNDS.items()
        if isinstance(value := said.get(name), int if name == "top_k" else int | float)
        and not isinstance(value, bool)
        and low <= value <= high
    }
