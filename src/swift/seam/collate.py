"""Encoded items to a Batch: labels shifted, sides one after the other, in rows or end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from swift.seam.types import IGNORE, Batch, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swift.dataset.encoded import Encoded


_Sequence: TypeAlias = "tuple[NDArray[np.int32], NDArray[np.bool_]]"
"""Ids, and which of them are supervised."""


def collate(
    encoded: Encoded, items: Sequence[int], pad_id: int, *, end_to_end: bool = False
) -> Batch:
    """Return a micro-batch of `items`: all chosen rows first, then all rejected ones.

    What a method sees of it is the same `end_to_end`, in one row without padding: there places
    begin anew with each sequence, and `segments` says where.

    Right padding needs no attention mask: a causal model cannot look at what comes after, and
    padding carries no label. Without items a filler comes back, one row of padding that no method
    counts: it keeps ranks in step.
    """
    if not items:
        return _filler(pad_id)
    sequences = [encoded.sequence(i, s) for s in range(encoded.sides) for i in items]
    origins = [encoded.origins[i] for i in items]
    if end_to_end:
        return _one_row(sequences, origins)
    width = max(len(ids) for ids, _ in sequences)
    ids_BT = np.full((len(sequences), width), pad_id, dtype=np.int64)
    labels_BT = np.full((len(sequences), width), IGNORE, dtype=np.int64)
    for b, (ids, supervised) in enumerate(sequences):
        ids_BT[b, : len(ids)] = ids
        labels_BT[b, : len(ids) - 1] = np.where(supervised[1:], ids[1:], IGNORE)
    row_N = np.nonzero(labels_BT != IGNORE)[0]
    return Batch(
        inputs={"input_ids": torch.from_numpy(ids_BT)},
        labels_BT=torch.from_numpy(labels_BT),
        rows=Rows(row_N=torch.from_numpy(row_N), count=len(sequences)),
        origins=origins,
    )


def _one_row(sequences: Sequence[_Sequence], origins: Sequence[str]) -> Batch:
    """Return the sequences end to end; the last token of each predicts nothing."""
    sizes = [len(ids) for ids, _ in sequences]
    ids_T = np.concatenate([ids for ids, _ in sequences]).astype(np.int64)
    taught_T = np.concatenate([supervised for _, supervised in sequences])
    ends = np.cumsum(sizes)
    labels_T = np.full(len(ids_T), IGNORE, dtype=np.int64)
    labels_T[:-1] = np.where(taught_T[1:], ids_T[1:], IGNORE)
    labels_T[ends - 1] = IGNORE
    row_T = np.repeat(np.arange(len(sizes)), sizes)
    places_T = np.arange(len(ids_T)) - np.repeat(ends - sizes, sizes)
    inputs = {
        "input_ids": torch.from_numpy(ids_T)[None],
        "position_ids": torch.from_numpy(places_T)[None],
        "segments": torch.from_numpy(np.concatenate([[0], ends])),
    }
    return Batch(
        inputs=inputs,
        labels_BT=torch.from_numpy(labels_T)[None],
        rows=Rows(row_N=torch.from_numpy(row_T[labels_T != IGNORE]), count=len(sizes)),
        origins=origins,
    )


def _filler(pad_id: int) -> Batch:
    ids_BT = torch.full((1, 2), pad_id)
    empty = torch.zeros(0, dtype=torch.int64)
    return Batch(
        inputs={"input_ids": ids_BT},
        labels_BT=torch.full_like(ids_BT, IGNORE),
        rows=Rows(row_N=empty, count=0),
    )
