"""Layouts that transformers opens only by running a folder's own code, opened without it."""

from __future__ import annotations

import json
from pathlib import Path


def opened(folder: Path, cache: Path) -> Path:
    """Return a folder that plain transformers opens for the model in `folder`.

    It is `folder` itself but for the layouts known here, which are converted once into `cache`.

    Raises:
        PlanError: The folder is of such a layout, but of a kind that cannot be converted.
        MachineError: The cache cannot be written, or is too small.
    """
    if _model_type(folder) == "qwen":
        from swift.model.quirks.qwen_v1 import converted

        return converted(folder, cache)
    return folder


def _model_type(folder: Path) -> str:
    """Return the family that config.json names; "" where it cannot be read: others will say."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    said = config.get("model_type") if isinstance(config, dict) else None
    return said if isinstance(said, str) else ""
