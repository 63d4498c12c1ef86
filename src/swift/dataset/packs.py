"""Which samples share a row: best fit, longest first."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def packs(lengths: NDArray[np.int64], capacity: int) -> list[list[int]]:
    """Return samples in packs of at most `capacity` tokens; every sample is in one.

    Best-fit decreasing: the longest sample first, each into the fullest pack that has room for it
    (Johnson et al., 1974: at most 11/9 of the fewest possible packs, and 4 more). The result is a
    function of the lengths alone. A sample longer than the capacity has a pack of its own.

    Args:
        lengths: Tokens of each sample.
        capacity: Most tokens of a pack.
    """
    import numpy as np

    found: list[list[int]] = []
    open_: dict[int, list[int]] = {}  # room left -> packs that have it
    rooms: list[int] = []  # its keys, sorted: no more than `capacity` of them
    for sample in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[sample])
        place = bisect_left(rooms, length)
        if place == len(rooms):
            number, left = len(found), capacity - length
            found.append([])
        else:
            room = rooms[place]
            number, left = open_[room].pop(), room - length
            if not open_[room]:
                del open_[room], rooms[place]
        found[number].append(sample)
        if left > 0:
            if left not in open_:
                open_[left] = []
                insort(rooms, left)
            open_[left].append(number)
    return found
