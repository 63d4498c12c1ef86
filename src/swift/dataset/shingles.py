"""Runs of tokens as numbers: what texts that are nearly the same share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swift.dataset.encoded import Encoded

WIDTH = 5
"""Tokens of a shingle: about four words."""

_AT_ONCE = 1 << 20
"""Tokens that are looked at together, which bounds the memory."""

_ODD = 0x9E3779B97F4A7C15
_MIX = 0xBF58476D1CE4E5B9


class Shingles(NamedTuple):
    """Shingles of some items, one item after the other."""

    hashes: NDArray[np.uint64]
    items: NDArray[np.int64]
    """Of each shingle: which item it is of, ascending."""


def shingles(encoded: Encoded) -> Iterator[Shingles]:
    """Yield the shingles of all items; an item of fewer than WIDTH tokens has one."""
    import numpy as np

    ends = np.cumsum(encoded.lengths)
    begin = 0
    while begin < len(encoded):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        yield _of(encoded, range(begin, end))
        begin = end


def of_item(encoded: Encoded, item: int) -> NDArray[np.uint64]:
    """Return the different shingles of one item, sorted."""
    import numpy as np

    return np.unique(_of(encoded, range(item, item + 1)).hashes)


def _of(encoded: Encoded, items: range) -> Shingles:
    import numpy as np

    sides = range(encoded.sides)
    parts = [np.concatenate([encoded.sequence(i, side)[0] for side in sides]) for i in items]
    sizes = np.array([len(part) for part in parts])
    ids = np.concatenate(parts).astype(np.uint64) + np.uint64(1)
    owner = np.repeat(np.arange(items.start, items.stop), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(ids))  # tokens up to the item's end
    hashes = np.zeros(len(ids), dtype=np.uint64)
    for place in range(WIDTH):
        ahead = np.zeros(len(ids), dtype=np.uint64)
        ahead[: max(0, len(ids) - place)] = ids[place:]
        hashes = hashes * np.uint64(_ODD) + np.where(left > place, ahead, 0).astype(np.uint64)
    first = np.concatenate(([True], owner[1:] != owner[:-1]))
    whole = (left >= WIDTH) | first
    return Shingles(mixed(hashes[whole]), owner[whole])


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers of which every bit depends on every bit of `hashes`."""
    import numpy as np

    hashes = (hashes ^ (hashes >> np.uint64(31))) * np.uint64(_MIX)
    hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(_ODD)
    return hashes ^ (hashes >> np.uint64(32))
