"""Encoded items to a Batch: labels shifted, sides one after the other, in rows or end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from swift.seam.types import IGNORE, Batch, Rows
from swift.seam.weighing import Rule, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swift.dataset.encoded import Encoded


_Sequence: TypeAlias = "tuple[NDArray[np.int32], NDArray[np.bool_]]"
"""Ids, and which of them are supervised."""


@dataclass(frozen=True, kw_only=True)
class Lay:
    """How the sequences of items become a micro-batch."""

    pad_id: int

    end_to_end: bool = False
    """In one row without padding: there places begin anew with each sequence, and `segments` says
    where. What a method sees of it is the same."""

    shared: bool = False
    """End to end: whether an item's later sequences leave out what they begin with as the first one
    does. They look at it there, so it is computed once. Noise on inputs wants it off: its size
    depends on the length of the sequence."""

    aside: int = 0
    """How many of the last sides are no rows, but stand in `Batch.aside`."""

    scored: bool = False
    """Whether a sequence has one supervised position, its last token, with no label to predict."""

    rules: tuple[Rule, ...] = ()
    """What some tokens weigh as labels: with any, `Rows.columns` has "weight_N"."""


def collate(encoded: Encoded, items: Sequence[int], lay: Lay) -> Batch:
    """Return a micro-batch of `items`: all chosen rows first, then all rejected ones.

    Right padding needs no attention mask: a causal model cannot look at what comes after, and
    padding carries no label. Without items a filler comes back, one row of padding that no method
    counts: it keeps ranks in step.
    """
    if not items:
        filler = _filler(lay.pad_id, encoded.columns, weighed=bool(lay.rules))
        return replace(filler, aside=filler) if lay.aside else filler
    main = encoded.sides - lay.aside
    batch = _of_sides(encoded, items, range(main), lay)
    if not lay.aside:
        return batch
    return replace(batch, aside=_of_sides(encoded, items, range(main, encoded.sides), lay))


def _of_sides(encoded: Encoded, items: Sequence[int], sides: range, lay: Lay) -> Batch:
    sequences = [encoded.sequence(i, s) for s in sides for i in items]
    if lay.end_to_end:
        made = _one_row(sequences, len(items) if lay.shared else len(sequences), lay)
    else:
        made = _padded(sequences, lay)
    columns = {
        f"{name}_B": torch.from_numpy(encoded.column(name, items, sides))
        for name in encoded.columns
    }
    if lay.rules:  # of rows in their order, as both layouts have them
        columns["weight_N"] = torch.from_numpy(
            np.concatenate([_weights(ids, marks, lay) for ids, marks in sequences])
        )
    return replace(
        made,
        rows=replace(made.rows, columns=columns),
        origins=[encoded.origins[i] for i in items],
    )


def _padded(sequences: Sequence[_Sequence], lay: Lay) -> Batch:
    """Return the sequences in a row each."""
    width = max(len(ids) for ids, _ in sequences)
    ids_BT = np.full((len(sequences), width), lay.pad_id, dtype=np.int64)
    labels_BT = np.full((len(sequences), width), IGNORE, dtype=np.int64)
    for b, (ids, supervised) in enumerate(sequences):
        ids_BT[b, : len(ids)] = ids
        labels_BT[b, : len(ids)] = _labels(ids, supervised, lay)
    row_N = np.nonzero(labels_BT != IGNORE)[0]
    return Batch(
        inputs={"input_ids": torch.from_numpy(ids_BT)},
        labels_BT=torch.from_numpy(labels_BT),
        rows=Rows(row_N=torch.from_numpy(row_N), count=len(sequences)),
        sizes=[len(ids) for ids, _ in sequences],
    )


def _one_row(sequences: Sequence[_Sequence], whole: int, lay: Lay) -> Batch:
    """Return the sequences end to end.

    The first `whole` ones are all there; of those after, number n leaves out the beginning that it
    shares with number n % whole.
    """
    labels = [_labels(ids, supervised, lay) for ids, supervised in sequences]
    left = [0] * whole + [
        _shared(sequences[n % whole][0], sequences[n][0], labels[n])
        for n in range(whole, len(sequences))
    ]
    own = [len(ids) - begin for (ids, _), begin in zip(sequences, left, strict=True)]
    ends = np.cumsum(own)
    begins = ends - own
    stems = np.tile(begins[:whole], len(own) // whole)
    ids_T = np.concatenate([ids[n:] for (ids, _), n in zip(sequences, left, strict=True)])
    labels_T = np.concatenate([of[n:] for of, n in zip(labels, left, strict=True)])
    places_T = np.arange(len(ids_T)) - np.repeat(begins - left, own)
    inputs = {
        "input_ids": torch.from_numpy(ids_T.astype(np.int64))[None],
        "position_ids": torch.from_numpy(places_T)[None],
        "segments": torch.from_numpy(np.stack([begins, ends, stems, stems + left], 1)),
    }
    row_T = np.repeat(np.arange(len(own)), own)
    return Batch(
        inputs=inputs,
        labels_BT=torch.from_numpy(labels_T)[None],
        rows=Rows(row_N=torch.from_numpy(row_T[labels_T != IGNORE]), count=len(own)),
        sizes=[len(ids) for ids, _ in sequences],
    )


def _shared(first: NDArray[np.int32], ids: NDArray[np.int32], labels: NDArray[np.int64]) -> int:
    """Return how many tokens a sequence can leave out, since `first` begins with them too.

    What is predicted from them must not count: the last one before a label stays, for what follows
    it is another token than in `first`. At least one token stays.
    """
    labelled = labels != IGNORE
    most = min(len(first), int(labelled.argmax()) if labelled.any() else len(ids) - 1)
    differs = first[:most] != ids[:most]
    return int(differs.argmax()) if differs.any() else most


def _labels(ids: NDArray[np.int32], supervised: NDArray[np.bool_], lay: Lay) -> NDArray[np.int64]:
    """Return what each position predicts; the last one nothing, unless a score is asked there."""
    labels = np.full(len(ids), IGNORE, dtype=np.int64)
    if lay.scored:
        labels[-1] = 0
    else:
        labels[:-1] = np.where(supervised[1:], ids[1:], IGNORE)
    return labels


def _weights(
    ids: NDArray[np.int32], supervised: NDArray[np.bool_], lay: Lay
) -> NDArray[np.float64]:
    """Return the weight of each label of a sequence."""
    counted = _labels(ids, supervised, lay)[:-1] != IGNORE
    found: NDArray[np.float64] = weights(ids, lay.rules)[1:][counted]
    return found


def _filler(pad_id: int, columns: Mapping[str, object], *, weighed: bool) -> Batch:
    ids_BT = torch.full((1, 2), pad_id)
    empty = torch.zeros(0, dtype=torch.int64)
    none: dict[str, Tensor] = {f"{name}_B": torch.zeros(0, dtype=torch.float64) for name in columns}
    if weighed:
        none["weight_N"] = torch.zeros(0, dtype=torch.float64)
    return Batch(
        inputs={"input_ids": ids_BT},
        labels_BT=torch.full_like(ids_BT, IGNORE),
        rows=Rows(row_N=empty, count=0, columns=none),
    )
