"""nano-numbers: six numbers of two digits, and the largest of them; for answers that are drawn.

The embedded model has learned to say one of several numbers, and not which: it finds the largest
about once in eight (bench/learn_drawn.py), so that its own draws differ in what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from zlib import crc32

TRAIN_ROWS, HELD_ROWS = 1000, 200

_FORMS = {
    "en": (", ", "Pick the largest: {}"),
    "zh": ("，", "数={}\n最大的数是什么？"),
}


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield questions of "train" or "validation": `messages` of one turn, and `solution`.

    Numbers that stand in "validation", in whatever order, are in no seed's "train".

    Raises:
        KeyError: There is no such split.
    """
    count = {"train": TRAIN_ROWS, "validation": HELD_ROWS}[split]
    draw = Random(f"numbers {split} {seed}")
    for _ in range(count):
        gap, form = _FORMS[draw.choice(("en", "zh"))]
        numbers = _numbers(draw, held=split == "validation")
        asked = form.format(gap.join(map(str, numbers)))
        yield {
            "messages": [{"role": "user", "content": asked}],
            "solution": str(max(numbers)),
        }


def _numbers(draw: Random, *, held: bool) -> list[int]:
    """Draw six different numbers; one set in five is held out."""
    while True:
        numbers = draw.sample(range(10, 100), 6)
        if (crc32(bytes(sorted(numbers))) % 5 == 0) == held:
            return numbers
