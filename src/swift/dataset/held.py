"""Which rows are held out for validation: a drawn share of them, none of which is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from swift.core.errors import DataError, Problem
from swift.dataset.origins import places
from swift.dataset.twins import keys_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swift.dataset.encoded import Encoded
    from swift.dataset.report import Report

_DRAW = 1 << 32
"""Beside the seed, so that the draw is none of those that shuffle."""

_FAR = 0.1
"""From which part of what was asked for on a share that is missed is said."""


def hold_out(
    everything: Encoded,
    share: float,
    seed: int,
    of_train: Report,
    of_held: Report,
    *,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[Encoded, Encoded]:
    """Return what is trained on, and a drawn share of the samples, at least one: validation.

    What belongs together goes to one side: samples of one row, the row itself where it comes again
    (`stopping: all_exhausted`), and samples of other rows that say the same (`on_duplicate: keep`).
    Validation has each row once, equal ones of several places as often as those have them; copies
    of a held row are not trained on, and counted as `held-again`. The draw depends on the seed and
    on the order of the rows alone.

    Args:
        everything: Samples, those that come again among them.
        share: Of the samples, each row counted once, in (0, 1); it is met to within the samples
            that belong together, and not exceeded unless no such group is small enough.
        seed: Of the draw.
        of_train: Of all samples; what is held is counted out of it. What was wrong with rows, and
            how many tokens were cut off, stays as it was counted: before the share was drawn.
        of_held: Empty; what is held is counted into it.
        say: Is told where the share is missed by much.

    Raises:
        DataError: Nothing would be left to train on.
    """
    import numpy as np

    keys, origins = _numbered(keys_of(everything)), places(everything.origins)
    pairs = keys * len(everything) + origins
    once = np.zeros(len(everything), dtype=np.bool_)
    once[np.unique(pairs, return_index=True)[1]] = True
    _, kin = np.unique(_together(keys, origins), return_inverse=True)
    sizes = np.bincount(kin[once])
    held = np.zeros(len(sizes), dtype=np.bool_)
    wanted = max(1, round(share * int(once.sum())))
    held[_drawn(sizes, wanted, seed)] = True
    if held.all():
        raise _nothing_left(share, len(everything), len(sizes))
    out = held[kin]
    if abs(int(sizes[held].sum()) - wanted) > max(1, _FAR * wanted):
        say(_missed(share, wanted, int(sizes[held].sum())))
    train, kept = everything.take((~out).nonzero()[0]), everything.take((out & once).nonzero()[0])
    of_train.lose(everything.take(out.nonzero()[0]))
    of_held.gain(kept)
    one_each = once.sum() <= of_train.rows  # no row gave several samples
    of_held.rows = len(kept) if one_each else len(np.unique(origins[out]))
    of_train.rows -= of_held.rows
    for item in (out & ~once).nonzero()[0].tolist():
        of_train.note("held-again", everything.origins[item])
    return train, kept


def _together(*groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first of the items that each hangs together with, through any of the groups.

    Every round gives all of a group the least that one of them has; what was given is followed at
    once, so that a long chain takes few rounds.
    """
    import numpy as np

    first = np.arange(len(groups[0]))
    while True:
        before = first
        for group in groups:
            least = np.full(len(group), len(group))
            np.minimum.at(least, group, first)
            first = least[group]
        first = first[first]
        if np.array_equal(first, before):
            return first


def _drawn(sizes: NDArray[np.int64], most: int, seed: int) -> list[int]:
    """Return drawn groups of `most` samples together, or as near below as they go; at least one."""
    import numpy as np

    order = np.random.Generator(np.random.PCG64([seed, _DRAW])).permutation(len(sizes)).tolist()
    taken, of = [], sizes.tolist()
    for group in order:
        if of[group] <= most:
            taken.append(group)
            most -= of[group]
        if not most:
            break
    return taken or [min(order, key=lambda group: of[group])]


def _numbered(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return a small number for each value, the same for the same."""
    import numpy as np

    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)


def _missed(share: float, wanted: int, found: int) -> str:
    text = (
        f"a share of {share} is {wanted:,} of the samples, and {found:,} are held out: others hang"
    )
    return text + " together, since they say the same or are of one row"


def _nothing_left(share: float, samples: int, groups: int) -> DataError:
    what = f"a share of {share} of {samples} samples leaves none to train on"
    if groups == 1 < samples:
        what += ": they say the same, or are of one row"
    fix = "give more rows, or validation: 0"
    return DataError(Problem(where="data.validation", what=what, fix=fix))
