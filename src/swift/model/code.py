"""Models whose folder brings code of its own: it is never run unasked; what there is instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swift.core.errors import Problem
from swift.model.kind import kind_of
from swift.model.names import Row, bare, find, rows
from swift.model.structures import Structure, brought, structures

FLAG = "trust_remote_code"
"""The key of `model` that allows it."""


def is_native(model_type: str) -> bool:
    """Return whether transformers, or a plug-in, has this model_type; neither is imported."""
    return model_type in brought() or _in_transformers(model_type)


@cache
def _in_transformers(model_type: str) -> bool:
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations or not model_type:
        return False
    auto = Path(spec.submodule_search_locations[0]) / "models" / "auto"
    entry = re.compile(rf"""\(?["']{re.escape(model_type)}["']\s*[,:]""")
    files = (auto / "auto_mappings.py", auto / "configuration_auto.py")
    return any(entry.search(f.read_text(encoding="utf-8")) for f in files if f.is_file())


def refusal(id: str, config: Mapping[str, Any]) -> Problem | None:
    """Return why the model of a config.json is not opened; None where transformers computes it.

    Args:
        id: As the user named it.
        config: The content of its config.json.
    """
    kind = kind_of(config)
    if is_native(kind.structure) or not (kind.code or kind.structure):
        return None
    if not kind.code:
        what = f"`{id}` is of the kind `{kind.structure}`, which this transformers does not know"
        fix = "a newer transformers; or name the plug-in that brings it: --plugins FILE"
        return Problem(where="model", what=what, fix=fix)
    names = {place.rpartition("--")[2].split(".")[0] for place in places(config.get("auto_map"))}
    files = ", ".join(f"{name}.py" for name in sorted(names)) or "its own files"
    said, instead = _instead(id, kind.architecture)
    return Problem(
        where="model",
        what=f"`{id}` ({kind.structure or kind.architecture or '?'}) is computed by code of "
        f"its own ({files}), which is not run{said}",
        fix=f"{instead}; or read that code, and allow it: --{FLAG}, `model: {{{FLAG}: true}}`",
    )


def places(auto_map: object) -> list[str]:
    """Return each place that an `auto_map` names: `file.Class` or `repository--file.Class`.

    A value may be a list: a tokenizer's has a slow class and a fast one.
    """
    if not isinstance(auto_map, dict):
        return []
    said = [
        v for value in auto_map.values() for v in (value if isinstance(value, list) else [value])
    ]
    return sorted({place for place in said if isinstance(place, str)})


def _instead(id: str, architecture: str) -> tuple[str, str]:
    """Return (what to add to the refusal, what to use in its place)."""
    row, known = find(id), _structure(id, architecture)
    said = f"; that code asks for {', '.join(known.wants)}" if known and known.wants else ""
    twin = _twin(row) if row else None
    if twin is not None:
        return said, f"write `{twin.huggingface or twin.modelscope}`: the same model without code"
    if known and known.native:
        about = {"converted": "computes it", "near": "is near to it"}.get(
            known.status, "is nearest"
        )
        return said, f"transformers' {known.native[0]} {about}: give a folder converted to it"
    return said, "choose a model that transformers computes itself (`swift list models`)"


def wanted(id: str, architecture: str) -> tuple[str, ...]:
    """Return the packages and versions that a model's own code asks for, as far as is known."""
    known = _structure(id, architecture)
    return known.wants if known else ()


def _structure(id: str, architecture: str) -> Structure | None:
    row = find(id)
    return structures().get(row.structure) if row else _by_architecture(architecture)


def _twin(row: Row) -> Row | None:
    """Return the row of the same model in transformers' own layout, if there is one."""
    stem = _stem(row.name)
    for other in rows():
        known = structures().get(other.structure)
        native = known is not None and known.status == "native"
        if native and other.ids != row.ids and _stem(other.name) == stem + "hf":
            return other
    return None


def _stem(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", bare(name).casefold())


def _by_architecture(architecture: str) -> Structure | None:
    found = (s for s in structures().values() if architecture and architecture in s.architectures)
    return next(found, None)
