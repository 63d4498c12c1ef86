"""nano-preferences: an order of nano-orders, its right JSON, and a JSON with one likely mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

from swift.dataset.generated import orders
from swift.dataset.generated.words import number

TRAIN_ROWS, HELD_ROWS = 1000, 200

_CHINESE = dict(zip(orders.KEYS, ("商品", "颜色", "城市", "价格"), strict=True))


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield pairs of "train" or "validation": `prompt`, `chosen`, `rejected`.

    The orders of "validation" are combinations that no seed's "train" holds.

    Raises:
        KeyError: There is no such split.
    """
    count = {"train": TRAIN_ROWS, "validation": HELD_ROWS}[split]
    draw = Random(f"preferences {split} {seed}")
    for row in islice(orders.rows(split, seed), count):
        asked, answer = (m["content"] for m in row["messages"])
        wrong = _mistaken(json.loads(answer), draw)
        yield {
            "prompt": asked,
            "chosen": answer,
            "rejected": json.dumps(wrong, ensure_ascii=False),
        }


def _mistaken(right: dict[str, Any], draw: Random) -> dict[str, Any]:
    """Return a copy of an answer with one mistake; it never equals `right`."""
    kind = draw.choice(("price", "missing", "swapped", "key"))
    key, other = draw.sample(orders.KEYS[:3], 2)
    if kind == "swapped" and right[key] != right[other]:
        return right | {key: right[other], other: right[key]}
    if kind == "missing":
        return {k: v for k, v in right.items() if k != key}
    if kind == "key":
        return {_CHINESE[k] if k == key else k: v for k, v in right.items()}
    return right | {"price": _another(right["price"], draw)}


def _another(price: int, draw: Random) -> int:
    while (wrong := number(draw)) == price:
        pass
    return wrong
