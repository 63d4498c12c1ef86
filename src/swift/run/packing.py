"""May this model read sequences laid end to end? It is asked, before it is trained so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
import torch

from swift.dataset.encoded import Encoded
from swift.model.skeleton import attention_of, bare
from swift.seam.collate import Lay, collate
from swift.seam.segments import SEGMENTED

if TYPE_CHECKING:
    from swift.parallel import Placement

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
"""Nats by which a token's log-probability may differ, packed or alone; of scores, their share of
the largest. A model that mixes what
stands before a sequence into it was seen to differ by tenths and more."""

_LONGEST = 48
"""Tokens of each sequence that it is asked with."""


@contextmanager
def end_to_end(
    placements: Sequence[Placement], train: Encoded, pad_id: int, event: Callable[..., Any]
) -> Iterator[bool]:
    """Let the models read rows of several sequences within, if their answers stay what they were.

    Each is asked for two sequences of the data, and two that share their beginnings with these:
    alone in padded rows, and end to end in one. Where it differs (layers that carry a state from
    place to place, attention of their own), all go back to the attention they had, and an event
    says so.

    Args:
        placements: The trained model and the frozen ones, on every rank.
        train: The rows, of which two are read.
        pad_id: The tokenizer's padding.
        event: Writes an event.

    Yields:
        Whether they read such rows now.
    """
    before = [_attention(placement, SEGMENTED) for placement in placements]
    held = [ref(placement) for placement in placements]
    try:
        worst = max((_differs(placement, train, pad_id) for placement in placements), default=0.0)
        del placements  # one may be done with, and leave the memory, before the run ends
        if worst <= 1:
            yield True
            return
    finally:  # a live model goes back to its owner
        for there, name in zip(held, before, strict=True):
            if (left := there()) is not None:
                _attention(left, name)
    event("note", text=f"padded rows, since the model mixes sequences that share one ({worst:.3g})")
    yield False


def _attention(placement: Placement, name: str) -> str:
    """Let a model look by another implementation of attention, and return the one it had."""
    model: Any = placement.model()
    before = attention_of(model)
    change = getattr(bare(model), "set_attn_implementation", None)
    if change is not None:  # else it will be told by its answers
        change(name)
    return before


def _differs(placement: Placement, train: Encoded, pad_id: int) -> float:
    """Return how far two sequences' answers are apart, in tolerances; infinity if it cannot say."""
    two = _two(train)
    lays = (Lay(pad_id=pad_id), Lay(pad_id=pad_id, end_to_end=True, shared=True))
    try:
        (alone,), (packed,) = (
            placement.no_grad([collate(two, [0, 1], lay)], "policy", frozenset({"logp"}))
            for lay in lays
        )
    except (TypeError, RuntimeError, ValueError, IndexError):  # its forward takes no such rows
        return float("inf")
    bound = TOLERANCE[next(placement.model().parameters()).dtype]
    if alone.score_N is not None and packed.score_N is not None:
        least = float(alone.score_N.abs().max()) or 1.0  # of no unit: what counts is the share
        return float((alone.score_N - packed.score_N).abs().max()) / least / bound
    return float((alone.logp_N - packed.logp_N).abs().max()) / bound


def _two(train: Encoded) -> Encoded:
    """Return the beginnings of two sequences, all of whose tokens are supervised, as two items.

    A second side of each goes on from its middle as the other does, supervised from there: what
    stands before is shared.
    """
    one, other = (train.sequence(item, 0)[0][:_LONGEST] for item in (0, len(train) - 1))
    halves = len(one) // 2, len(other) // 2
    crossed = [
        (np.concatenate([a[:half], b]), half)
        for a, b, half in ((one, other, halves[0]), (other, one, halves[1]))
    ]
    found = [(one, 0), crossed[0], (other, 0), crossed[1]]
    sizes = [len(ids) for ids, _ in found]
    return Encoded(
        ids=np.concatenate([ids for ids, _ in found]),
        supervised=np.concatenate([np.arange(len(ids)) > begin for ids, begin in found]),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=2,
        origins=["", ""],
    )
