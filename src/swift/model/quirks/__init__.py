"""Layouts that transformers opens only by running a folder's own code, opened without it.

One file per layout, each with one function `layout(config, folder)`: the configuration, weights
and tokenizer of such a folder in the words of an architecture that transformers has; None for the
layout's relatives that compute something else. What all share is in `_rewrite.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import PlanError
from swift.core.table import Table

if TYPE_CHECKING:
    from swift.model.quirks._layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A layout that can be rewritten."""

    model_type: str
    """Of its config.json."""

    module: str
    """The module whose function `layout(config, folder)` knows it."""


def _own() -> Iterator[Known]:
    files = "baichuan chatglm internlm internlm2 minicpm orion qwen_v1 skywork xverse"
    for name in files.split():
        yield Known(model_type=name.removesuffix("_v1"), module=f"{__name__}.{name}")


layouts: Table[Known] = Table("layout", _own, lambda known: known.model_type)
"""All of them. A plug-in adds one with `layouts.add(Known(...))`."""


def opened(folder: Path, cache: Path, *, trust: bool = False) -> Path:
    """Return a folder that plain transformers opens for the model in `folder`.

    It is `folder` itself but for the layouts known here, which are rewritten once into `cache`.

    Args:
        folder: Where the model is.
        cache: Where rewritten ones go.
        trust: Whether its own code may run: then what cannot be rewritten is left to that.

    Raises:
        PlanError: The folder is of such a layout, but of a kind that cannot be rewritten.
        MachineError: The cache cannot be written, or is too small.
    """
    try:
        found = layout_of(_config(folder), folder)
    except PlanError:
        if trust:
            return folder
        raise
    if found is None:
        return folder
    from swift.model.quirks._rewrite import rewritten

    return rewritten(folder, cache, found)


def layout_of(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how the model of a config.json is rewritten; None where it is not.

    Raises:
        PlanError: It is of a known layout, but broken or quantised.
    """
    said = config.get("model_type")
    known = layouts.get(said) if isinstance(said, str) else None
    if known is None:
        return None
    found: Layout | None = import_module(known.module).layout(config, folder)
    return found


def made_of(folder: Path) -> Mapping[str, Any]:
    """Return what a folder was rewritten from: of, model_type, folder, commit, notes; else {}."""
    return _read(folder / "rewritten.json")


def _config(folder: Path) -> dict[str, Any]:
    """Return config.json; an empty one where it cannot be read: others will say."""
    return _read(folder / "config.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
