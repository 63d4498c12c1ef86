"""Items that say the same as others, or nearly: within a data set, and between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from swift.dataset.shingles import mixed, of_item, shingles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swift.dataset.encoded import Encoded
    from swift.dataset.report import Report

NEAR = 0.9
"""Share of a validation row's shingles in one training row from which it is nearly trained on."""

_HASHES = 64
"""Smallest values of so many functions stand for an item (Broder, 1997)."""

_FOUND = 0.98
"""Chance of a pair that is as alike as was asked to be looked at."""

_COMMON = 32
"""Training rows from which on a shingle is the template's or everybody's."""

_MANY = 1 << 21
"""Training tokens from which on one shingle of eight is looked at."""

Twins = Mapping[int, int]
"""Item -> an earlier one that it is like."""


def distinct(encoded: Encoded, report: Report, *, near: float | None = None) -> Encoded:
    """Return items without those that say what one before says, if the report's policy drops them.

    Rows that come again because a data set was begun again are no duplicates.

    Args:
        encoded: Items.
        report: Is told of each, and counts what is left.
        near: Share of shingles in common (Jaccard) from which items are dropped as nearly the
            same; None: they are not looked for.
    """
    found = duplicates(encoded)
    _tell("duplicate", found, encoded, encoded, report)
    if report.policy("duplicate") == "drop":
        encoded = _without(encoded, found, report)
    if near is not None:
        close = near_duplicates(encoded, near)
        _tell("near-duplicate", close, encoded, encoded, report)
        encoded = _without(encoded, close, report)
    return encoded


def apart(train: Encoded, held: Encoded, report: Report, *, near: bool) -> Encoded:
    """Return validation items without those that are trained on, if the report's policy drops them.

    Args:
        train: What is trained on.
        held: What is not to be.
        report: Of the validation items.
        near: Whether items that are nearly trained on are looked for, too: at the cost of a walk
            over all training tokens.
    """
    found = leaked(train, held)
    _tell("leaked", found, held, train, report)
    if near:
        close = {item: i for item, i in near_leaked(train, held).items() if item not in found}
        _tell("near-leaked", close, held, train, report)
        found = {**found, **close}
    return _without(held, found, report) if report.policy("leaked") == "drop" else held


def duplicates(encoded: Encoded) -> Twins:
    """Return the items that say exactly what an earlier one of another origin says."""
    import numpy as np

    keys = keys_of(encoded)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    twins = first[group]
    later = (twins != np.arange(len(keys))).nonzero()[0].tolist()
    origins = encoded.origins
    return {i: int(twins[i]) for i in later if origins[i] != origins[int(twins[i])]}


def leaked(train: Encoded, held: Encoded) -> Twins:
    """Return the items of `held` that `train` has too, and which it is there."""
    import numpy as np

    keys, first = np.unique(keys_of(train), return_index=True)
    asked = keys_of(held)
    place = np.searchsorted(keys, asked).clip(max=max(0, len(keys) - 1))
    same = (keys[place] == asked).nonzero()[0] if len(keys) else []
    return {int(i): int(first[place[i]]) for i in same}


def near_duplicates(encoded: Encoded, threshold: float) -> Twins:
    """Return the items of which a share of at least `threshold` is in common with an earlier one.

    Which pairs to compare is told by hashes, whether they are alike by their tokens.
    """
    found: dict[int, int] = {}
    keys = keys_of(encoded)
    for before, item in sorted(set(_candidates(encoded, threshold))):
        if item in found or keys[before] == keys[item]:
            continue
        if _alike(of_item(encoded, before), of_item(encoded, item)) >= threshold:
            found[item] = before
    return dict(sorted(found.items()))


def near_leaked(train: Encoded, held: Encoded) -> Twins:
    """Return the items of `held` that are nearly all in one of `train`.

    Shingles that many training rows have say nothing: the template writes them.
    """
    import numpy as np

    few = 8 if train.lengths.sum() >= _MANY else 1
    own = list(_sampled(held, few))
    asked, place = np.unique(np.concatenate([h for h, _ in own]), return_inverse=True)
    hashes, items = _pairs(place, np.concatenate([i for _, i in own]))
    seen, rows = _seen(train, asked, few)
    common = np.bincount(seen, minlength=len(asked)) > _COMMON
    hashes, items = hashes[~common[hashes]], items[~common[hashes]]
    totals = np.bincount(items, minlength=len(held))
    best = _best(hashes, items, seen, rows, common)
    return {
        item: row
        for item, (count, row) in sorted(best.items())
        if totals[item] > 1 and count >= NEAR * totals[item]
    }


def _best(
    hashes: NDArray[np.int64],
    items: NDArray[np.int64],
    seen: NDArray[np.int64],
    rows: NDArray[np.int64],
    common: NDArray[np.bool_],
) -> dict[int, tuple[int, int]]:
    """Return item -> (how many shingles it shares with one training row at most, that row)."""
    import numpy as np

    rows, seen = rows[~common[seen]], seen[~common[seen]]
    order = np.argsort(seen, kind="stable")
    seen, rows = seen[order], rows[order]
    begin, end = np.searchsorted(seen, hashes), np.searchsorted(seen, hashes, side="right")
    sizes = end - begin
    owner = np.repeat(items, sizes)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    there = rows[np.repeat(begin, sizes) + place]
    both, counts = np.unique(owner << 32 | there, return_counts=True)
    best: dict[int, tuple[int, int]] = {}
    for pair, count in zip(both.tolist(), counts.tolist(), strict=True):
        if count > best.get(pair >> 32, (0, 0))[0]:
            best[pair >> 32] = (count, pair & 0xFFFFFFFF)
    return best


def _pairs(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the different pairs of two columns of numbers below 2^32, in two rows."""
    import numpy as np

    both = np.unique(a.astype(np.int64) << 32 | b)
    return np.stack([both >> 32, both & 0xFFFFFFFF])


def _seen(
    train: Encoded, asked: NDArray[np.uint64], few: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of the shingles asked for are in which row; of common ones not all rows."""
    import numpy as np

    times = np.zeros(len(asked), dtype=np.int64)
    found: list[NDArray[np.int64]] = [np.zeros((2, 0), dtype=np.int64)]
    for hashes, items in _sampled(train, few):
        if not len(asked):
            break
        place = np.searchsorted(asked, hashes).clip(max=len(asked) - 1)
        wanted = (asked[place] == hashes) & (times[place] <= _COMMON)
        pairs = _pairs(place[wanted], items[wanted])
        times += np.bincount(pairs[0], minlength=len(asked))
        found.append(pairs)
    seen, rows = np.concatenate(found, axis=1)
    return seen, rows


def _sampled(encoded: Encoded, few: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Yield one of `few` shingles, the same ones wherever they are."""
    import numpy as np

    for found in shingles(encoded):
        taken = found.hashes % np.uint64(few) == 0
        yield found.hashes[taken], found.items[taken]


def _candidates(encoded: Encoded, threshold: float) -> Iterator[tuple[int, int]]:
    """Yield (earlier, later) items that may be alike: some band of their values is the same."""
    import numpy as np

    rows = max(r for r in (1, 2, 4, 8, 16) if _chance(threshold, r) >= _FOUND or r == 1)
    bands = np.concatenate([_bands(*found, rows) for found in shingles(encoded)])
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        same = band[order][1:] == band[order][:-1]
        first = np.maximum.accumulate(
            np.where(np.concatenate(([True], ~same)), range(len(band)), 0)
        )
        for place in (same.nonzero()[0] + 1).tolist():
            item = int(order[place])
            yield int(order[first[place]]), item
            yield int(order[place - 1]), item


def _chance(threshold: float, rows: int) -> float:
    """Return how probably two items of this likeness share a band of so many values."""
    return float(1 - (1 - threshold**rows) ** (_HASHES // rows))


def _bands(hashes: NDArray[np.uint64], items: NDArray[np.int64], rows: int) -> NDArray[np.uint64]:
    """Return [item, band] -> a number that stands for `rows` smallest values."""
    import numpy as np

    starts = np.concatenate(([0], (items[1:] != items[:-1]).nonzero()[0] + 1))
    bands = np.zeros((len(starts), _HASHES // rows), dtype=np.uint64)
    for number in range(_HASHES):
        salt = np.uint64((number + 1) * 0xD6E8FEB86659FD93 % 2**64)
        least = np.minimum.reduceat(mixed(hashes ^ salt), starts)
        bands[:, number // rows] = mixed(bands[:, number // rows] ^ least)
    return bands


def _alike(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    import numpy as np

    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def keys_of(encoded: Encoded) -> NDArray[np.uint64]:
    """Return 64 bits of each item that are the same for items that say the same."""
    import numpy as np

    keys = encoded.keys
    if keys is None:
        raise ValueError("the items have no keys")
    return np.asarray(keys if encoded.items is None else keys[encoded.items])


def _tell(name: str, twins: Twins, items: Encoded, others: Encoded, report: Report) -> None:
    for item, other in twins.items():
        report.note(name, f"{items.origins[item]} as {others.origins[other]}")


def _without(encoded: Encoded, twins: Twins, report: Report) -> Encoded:
    """Return the items that have no twin; the report counts what is left."""
    if not twins:
        return encoded
    report.lose(encoded.take(sorted(twins)))
    return encoded.take([item for item in range(len(encoded)) if item not in twins])
