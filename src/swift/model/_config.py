"""Whether a config.json can be one of a language model: types of its keys, and sane sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from swift.core.errors import Problem

_SIZES = {
    "num_hidden_layers": 1,
    "hidden_size": 1,
    "vocab_size": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 0,
}
"""Whole numbers that a plan reads -> the smallest."""

_LAYERS = re.compile(r"(?!max_)(\w+_)?(layers?|depth)")
"""Keys that count layers, in any family's words: num_hidden_layers, n_layer, depth."""

_FEW = 200
"""So many layers may share one tensor; of more, each has its own."""

_PACKED = 64
"""So many weights a number in a file may hold: 4-bit ones in int32 are 8, shared ones more."""


def odd_keys(config: Mapping[str, Any], where: str) -> list[Problem]:
    """Return what keys of a config.json hold that is not of their kind.

    Args:
        config: Its content.
        where: Its path, for the problems.
    """
    architectures, text = config.get("architectures"), config.get("text_config")
    plain = isinstance(architectures, list) and all(isinstance(a, str) for a in architectures)
    wrong = [
        ("architectures", architectures, architectures is None or plain, "a list of words"),
        ("model_type", kind := config.get("model_type"), _is(kind, str), "a word"),
        ("text_config", text, _is(text, dict), "a map"),
    ]
    inner = text if text and isinstance(text, dict) else config
    wrong += [
        (key, said, _whole(said, least), f"a whole number of {least} or more")
        for key, least in _SIZES.items()
        if (said := inner.get(key)) is not None
    ]
    return [
        _problem(where, f"`{key}` is {_cut(said)}, not {meant}")
        for key, said, right, meant in wrong
        if not right
    ]


def too_large(config: Mapping[str, Any], where: str, tensors: int, numbers: int) -> list[Problem]:
    """Return what a config.json announces that its files cannot hold: it would take all memory.

    Args:
        config: Its content, without odd keys.
        where: Its path, for the problems.
        tensors: How many the files hold.
        numbers: How many numbers these have.
    """
    deep = [
        f"`{key}` is {_cut(said)}, but its files hold {tensors} tensors"
        for key, said in _all(config)
        if _LAYERS.fullmatch(key) and type(said) in (int, float) and said > max(tensors, _FEW)
    ]
    inner = config.get("text_config") or config
    wide, rows = inner.get("hidden_size") or 0, inner.get("vocab_size") or 0
    if max(int(wide), 1) * max(int(rows), 1) > _PACKED * numbers:
        deep.append(
            f"`hidden_size` {_cut(wide)} and `vocab_size` {_cut(rows)} are more than its files' "
            f"{numbers} numbers can be"
        )
    return [_problem(where, what) for what in deep]


def _all(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return each key and value, those of maps inside too."""
    maps: list[Mapping[str, Any]] = [config]
    while maps:
        for key, said in maps.pop().items():
            yield key, said
            if isinstance(said, dict):
                maps.append(said)


def _is(said: object, kind: type) -> bool:
    return said is None or isinstance(said, kind)


def _whole(said: object, least: int) -> bool:
    return type(said) in (int, float) and said == said // 1 >= least  # type: ignore[operator]  # type() narrows nothing


def _cut(said: object) -> str:
    text = repr(said)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _problem(where: str, what: str) -> Problem:
    return Problem(where=where, what=what, fix="fetch the folder again")
