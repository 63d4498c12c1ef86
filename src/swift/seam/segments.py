"""Sequences laid end to end in one row, each looking at itself and at a beginning it shares.

transformers lets a model's attention be any registered function (its `AttentionInterface`), and
passes on what it does not know itself: ours is told where each sequence begins. So no mask of
T x T is ever made, and a pack costs what its sequences cost. A sequence that begins as one before
it does (answers to one prompt) may leave that beginning out: its own tokens then look at the other
one's there, which are the same. Other layers must not mix places: `swift.run.packing` asks each
model by its own answers before it is trained so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface

from swift.seam.look import Look

SEGMENTED = "swift_segmented"
"""The name of this attention in transformers' register."""

_READ = WeakIdKeyDictionary()
"""Numbers of the `segments` that are in use."""


def segmented(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segments: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Return attention of query [B, H, T, D] as [B, T, H, D]; see transformers' interface.

    Args:
        module: The model's attention layer.
        query: [B, H, T, D]; B is 1 where there are segments.
        key: [B, G, T, D], G divides H.
        value: As `key`.
        attention_mask: Not looked at: rows are causal, and padded on the right.
        scaling: Of the scores; None: 1 / sqrt(D).
        dropout: Share of the weights that is dropped.
        sliding_window: Tokens that a token sees, itself included; None: all before it.
        softcap: Cap of the scores.
        segments: int64 [count, 4]: where each sequence's own tokens begin and end, and where those
            that it leaves out do, an empty range for none; None: whole rows.
        more: An extra score, `s_aux`; else what other implementations want.
    """
    look = Look(scaling, sliding_window, softcap, more.get("s_aux"))
    if segments is None:
        return look.causal(query, key, value, dropout=dropout).transpose(1, 2), None
    outs = []
    for begin, end, stem, stop in _ranges(segments):
        own, seen = query[:, :, begin:end], (key[:, :, begin:end], value[:, :, begin:end])
        if stop > stem:
            seen = _after(key[:, :, stem:stop], seen[0]), _after(value[:, :, stem:stop], seen[1])
        outs.append(look.causal(own, *seen, begin=stop - stem, dropout=dropout))
    return torch.cat(outs, 2).transpose(1, 2), None


def _ranges(segments: Tensor) -> list[list[int]]:
    """Return the numbers of `segments`: an accelerator is asked, and waited for, by one layer."""
    if segments not in _READ:
        _READ[segments] = segments.tolist()
    found: list[list[int]] = _READ[segments]
    return found


def _after(stem: Tensor, own: Tensor) -> Tensor:
    return torch.cat([stem, own], 2)


AttentionInterface.register(SEGMENTED, segmented)
