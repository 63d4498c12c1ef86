"""Encoded items to a Batch: right padding, labels shifted, sides one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from swift.seam.types import IGNORE, Batch, Rows

if TYPE_CHECKING:
    from swift.dataset.encode import Encoded


def collate(encoded: Encoded, items: Sequence[int], pad_id: int) -> Batch:
    """Return a micro-batch of `items`: all chosen rows first, then all rejected ones.

    Right padding needs no attention mask: a causal model cannot look at what comes after, and
    padding carries no label. Without items a filler comes back, one row of padding that no method
    counts: it keeps ranks in step.
    """
    if not items:
        return _filler(pad_id)
    sequences = [encoded.sequence(i, s) for s in range(encoded.sides) for i in items]
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
        origins=[encoded.origins[i] for i in items],
    )


def _filler(pad_id: int) -> Batch:
    ids_BT = torch.full((1, 2), pad_id)
    empty = torch.zeros(0, dtype=torch.int64)
    return Batch(
        inputs={"input_ids": ids_BT},
        labels_BT=torch.full_like(ids_BT, IGNORE),
        rows=Rows(row_N=empty, count=0),
    )
