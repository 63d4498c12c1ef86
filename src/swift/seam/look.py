"""How a layer looks at keys: the arithmetic of attention that transformers' models ask for.

Shapes: B rows, H heads of queries, G heads of keys and values (H is a multiple), T queries, S keys,
D width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attend


@dataclass(frozen=True)
class Look:
    """Scale, window, cap of the scores, an extra score for each head that takes no value."""

    scale: float | None = None
    window: int | None = None
    cap: float | None = None
    sink: Tensor | None = None

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        dropout: float = 0.0,
    ) -> Tensor:
        """Return softmax(q k scale + mask) v, [B, H, T, D], for as many heads of keys."""
        if self.cap is None and self.sink is None:
            return attend(query, key, value, attn_mask=mask, scale=self.scale, dropout_p=dropout)
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = (query @ key.transpose(-1, -2)) * scale
        if self.cap is not None:
            scores = torch.tanh(scores / self.cap) * self.cap
        scores = scores if mask is None else scores + mask
        if self.sink is not None:
            sink = self.sink.view(1, query.shape[1], -1, 1).to(scores.dtype)
            sink = sink.repeat_interleave(query.shape[2] // sink.shape[2], dim=2)
            scores = torch.cat([scores, sink.expand(scores.shape[0], -1, -1, -1)], -1)
        shares: Tensor = scores.float().softmax(-1)[..., : key.shape[2]]
        shares = torch.nn.functional.dropout(shares, dropout) if dropout else shares
        return shares.to(value.dtype) @ value

    def causal(
        self, query: Tensor, key: Tensor, value: Tensor, begin: int = 0, dropout: float = 0.0
    ) -> Tensor:
        """Return what queries at places `begin`, begin + 1, ... see of all keys before them.

        Args:
            query: [B, H, T, D].
            key: [B, G, begin + T, D].
            value: As `key`.
            begin: Place of the first query.
            dropout: Share of the weights that is dropped.
        """
        count, groups = query.shape[2], query.shape[1] // key.shape[1]
        plain = self.cap is None and self.sink is None
        if plain and not begin and (self.window is None or count <= self.window):
            return attend(
                query,
                key,
                value,
                is_causal=True,
                scale=self.scale,
                enable_gqa=groups > 1,
                dropout_p=dropout,
            )
        mask = self._mask(begin, count, query)
        asked = query.reshape(query.shape[0], key.shape[1], groups * count, -1)
        out = self(asked, key, value, mask.repeat(groups, 1), dropout)
        return out.reshape(query.shape)

    def _mask(self, begin: int, count: int, like: Tensor) -> Tensor:
        """Return [T, S]: 0 where a query looks, -inf elsewhere."""
        now = torch.arange(begin, begin + count, device=like.device)[:, None]
        before = torch.arange(begin + count, device=like.device)
        seen = before <= now
        if self.window is not None:
            seen &= before > now - self.window
        mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
        return mask.masked_fill_(~seen, float("-inf"))
