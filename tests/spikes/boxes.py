"""A flat range of a tensor, as engines that flatten weights keep it, cut into boxes."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod


def boxes(
    shape: tuple[int, ...], begin: int, end: int, at: int = 0
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Cut the flat range [begin, end) of a tensor into boxes.

    Yields:
        (size, offset in the tensor, place in the flat tensor): in order, at most 2 a dimension.
    """
    if begin >= end:
        return
    if len(shape) == 1:
        yield (end - begin,), (begin,), at + begin
        return
    inner = prod(shape[1:])
    first, last = begin // inner, (end - 1) // inner
    for row, low, high in _rows(first, last, begin, end, inner):
        if high - low == (inner * (row[1] - row[0])):
            yield (row[1] - row[0], *shape[1:]), (row[0], *(0 for _ in shape[1:])), at + low
        else:
            base = row[0] * inner
            for size, offset, place in boxes(shape[1:], low - base, high - base, at + base):
                yield (1, *size), (row[0], *offset), place


def _rows(
    first: int, last: int, begin: int, end: int, inner: int
) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Yield ((first row, last row + 1), begin, end): a part of a row, whole rows, a part."""
    whole = (ceil(begin / inner), end // inner)
    if whole[0] > whole[1]:
        yield (first, last + 1), begin, end
        return
    if begin < whole[0] * inner:
        yield (first, first + 1), begin, whole[0] * inner
    if whole[0] < whole[1]:
        yield whole, whole[0] * inner, whole[1] * inner
    if whole[1] * inner < end:
        yield (last, last + 1), whole[1] * inner, end
