"""Data sets made by a program: the embedded model's text and its task. Pure functions of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any


def samples(name: str, split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the generated data set `name` ("orders", "lines", ...).

    Args:
        name: Which one; "module:function" is a plug-in's, called with split and seed.
        split: "train", "validation", or one of the task's held-out kinds.
        seed: Draws the rows; the same seed gives the same rows on every machine.

    Raises:
        KeyError: There is no such data set or split.
    """
    module, colon, function = name.partition(":")
    if colon:
        rows: Iterator[dict[str, Any]] = getattr(import_module(module), function)(split, seed)
        return rows
    from swift.dataset.generated import lines, numbers, orders, preferences, text

    makers = {
        "lines": lines.rows,
        "numbers": numbers.rows,
        "orders": orders.rows,
        "preferences": preferences.rows,
        "text": text.rows,
    }
    return makers[name](split, seed)


def turn(ask: str, answer: str) -> dict[str, Any]:
    """Return a row: one question and its answer."""
    return {
        "messages": [
            {"role": "user", "content": ask},
            {"role": "assistant", "content": answer},
        ]
    }
