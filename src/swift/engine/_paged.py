"""Attention over a key/value cache in blocks, inside the model's own code.

transformers lets a model's attention be any registered function (its `AttentionInterface`). Ours
gets the new tokens of all sequences laid end to end, stores their keys and values in blocks, and
lets each sequence look at its own blocks (Kwon et al., 2023, arXiv:2309.06180). So nothing but
attention depends on how long the sequences are: there is no padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from swift.seam.look import Look

PAGED = "swift_paged"
"""The name of this attention in transformers' register."""


class Pool:
    """Keys and values of every layer, in blocks of `block_size` tokens.

    A layer's tensors are made when it first stores something, since only then its shapes are
    known. Block 0 belongs to nobody: tables are filled up with it.
    """

    def __init__(self, blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self._blocks = blocks
        self._free = list(range(blocks, 0, -1))
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody has."""
        return len(self._free)

    @property
    def total(self) -> int:
        """Blocks in all."""
        return self._blocks

    def take(self) -> int:
        """Return a block that was free."""
        return self._free.pop()

    def give(self, blocks: list[int]) -> None:
        """Take blocks back, and empty the list."""
        self._free.extend(reversed(blocks))
        blocks.clear()

    def layer(self, number: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values, each [blocks, block_size, heads, width]."""
        if number not in self._layers:
            self._layers[number] = (self._empty(key), self._empty(value))
        return self._layers[number]

    def _empty(self, like_BHTD: Tensor) -> Tensor:
        heads, width = like_BHTD.shape[1], like_BHTD.shape[3]
        # Zeros, not garbage: what a mask hides is still multiplied, and 0 * nan is nan.
        shape = (self._blocks + 1, self.block_size, heads, width)
        if like_BHTD.device.type != "cpu":
            return like_BHTD.new_zeros(shape)
        # numpy asks the system for zeros, so that memory is taken only as blocks are used.
        size = math.prod(shape) * like_BHTD.element_size()
        return torch.from_numpy(np.zeros(size, np.uint8)).view(like_BHTD.dtype).view(shape)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """New tokens of one sequence: a part of its prompt, or its one newest token."""

    blocks: Sequence[int]
    """All its blocks, in order."""

    begin: int
    """How many of its tokens are stored already."""

    count: int
    """How many are new."""


@dataclass(frozen=True)
class Step:
    """The new tokens of one forward: first sequences with one each, then longer pieces."""

    pool: Pool
    pieces: Sequence[Piece]
    device: torch.device
    singles: int = field(init=False)
    """How many of the first pieces have one token."""

    def to(self, device: torch.device | str, **_: Any) -> Step:
        """Return the step for layers that lie on another device; what moves tensors asks for it."""
        there = torch.device(device)
        if there == self.device:
            return self
        if there not in self._elsewhere:
            self._elsewhere[there] = Step(self.pool, self.pieces, there)
        return self._elsewhere[there]

    @cached_property
    def _elsewhere(self) -> dict[torch.device, Step]:
        return {}

    def __post_init__(self) -> None:
        singles = next((i for i, p in enumerate(self.pieces) if p.count > 1), len(self.pieces))
        object.__setattr__(self, "singles", singles)

    @cached_property
    def positions(self) -> Tensor:
        """[1, T]: where each token stands in its sequence."""
        numbers = [n for p in self.pieces for n in range(p.begin, p.begin + p.count)]
        return torch.tensor([numbers], device=self.device)

    @cached_property
    def slots(self) -> Tensor:
        """[T]: where each token is stored: block * block_size + place in the block."""
        size = self.pool.block_size
        return torch.tensor(
            [
                p.blocks[n // size] * size + n % size
                for p in self.pieces
                for n in range(p.begin, p.begin + p.count)
            ],
            device=self.device,
        )

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens that each single sees, itself included."""
        return [p.begin + 1 for p in self.pieces[: self.singles]]

    @cached_property
    def table(self) -> Tensor:
        """The blocks of each single, flat, filled up with block 0 to the longest."""
        size = self.pool.block_size
        width = -(-max(self.lengths) // size)
        rows = [list(p.blocks[:width]) for p in self.pieces[: self.singles]]
        return torch.tensor(
            [b for r in rows for b in r + [0] * (width - len(r))], device=self.device
        )

    @cached_property
    def _masks(self) -> dict[tuple[int | None, torch.dtype], Tensor | None]:
        return {}

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """Return [singles, 1, 1, longest]: 0 where a single looks, -inf elsewhere; None for all."""
        if (window, dtype) not in self._masks:
            self._masks[window, dtype] = self._mask(window, dtype)
        return self._masks[window, dtype]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        longest = max(self.lengths)
        if min(self.lengths) == longest and (window is None or longest <= window):
            return None
        lengths_S1 = torch.tensor(self.lengths, device=self.device)[:, None]
        place_L = torch.arange(longest, device=self.device)
        seen = place_L < lengths_S1
        if window is not None:
            seen &= place_L >= lengths_S1 - window
        mask = torch.zeros(seen.shape, dtype=dtype, device=self.device)
        return mask.masked_fill_(~seen, float("-inf"))[:, None, None, :]


def paged(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    step: Step | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return attention of query [1, H, T, D] as [1, T, H, D]; see transformers' interface."""
    assert step is not None, "the engine gives a Step with each forward"
    keys, values = step.pool.layer(module.layer_idx, key, value)
    keys.flatten(0, 1).index_copy_(0, step.slots, key[0].transpose(0, 1))
    values.flatten(0, 1).index_copy_(0, step.slots, value[0].transpose(0, 1))
    look = Look(scaling, sliding_window, softcap, kwargs.get("s_aux"))
    parts = [_singles(query, keys, values, step, look)] if step.singles else []
    start = step.singles
    for piece in step.pieces[step.singles :]:
        end = start + piece.count
        parts.append(
            _longer(
                query[:, :, start:end],
                key[:, :, start:end],
                value[:, :, start:end],
                keys,
                values,
                piece,
                look,
            )
        )
        start = end
    out_THD = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out_THD[None], None


def _singles(query: Tensor, keys: Tensor, values: Tensor, step: Step, look: Look) -> Tensor:
    """Return [S, H, D] for the first S tokens, each alone in its sequence.

    The heads that share a key head stand where torch expects several queries.
    """
    count, longest = step.singles, max(step.lengths)
    heads, groups = query.shape[1], query.shape[1] // keys.shape[2]
    asked = query[0, :, :count].transpose(0, 1).reshape(count, heads // groups, groups, -1)
    found = [
        pool.index_select(0, step.table)
        .view(count, -1, pool.shape[2], pool.shape[3])[:, :longest]
        .transpose(1, 2)
        for pool in (keys, values)
    ]
    out = look(asked, found[0], found[1], step.mask(look.window, query.dtype))
    return out.reshape(count, heads, -1)


def _longer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    piece: Piece,
    look: Look,
) -> Tensor:
    """Return [count, H, D] for several new tokens of one sequence."""
    if piece.begin:
        end = piece.begin + piece.count
        width = -(-end // keys.shape[1])
        blocks = torch.tensor(list(piece.blocks[:width]), device=query.device)
        key, value = (
            pool.index_select(0, blocks).flatten(0, 1)[:end].transpose(0, 1)[None]
            for pool in (keys, values)
        )
    return look.causal(query, key, value, piece.begin)[0].transpose(0, 1)


AttentionInterface.register(PAGED, paged)


def forward(model: nn.Module, ids: Sequence[int], step: Step, ends: Sequence[int]) -> Tensor:
    """Return the logits [len(ends), vocabulary] after the tokens at `ends`.

    Args:
        model: Opened with attention `PAGED`.
        ids: The new tokens of all pieces, end to end.
        step: Their pieces.
        ends: Places in `ids` whose next token is wanted.
    """
    kept = None if hasattr(model, "hf_device_map") else step.device  # see _place.py
    out = model(
        input_ids=torch.tensor([ids], device=step.device),
        position_ids=step.positions,
        use_cache=False,
        logits_to_keep=torch.tensor(ends, dtype=torch.long, device=kept),
        step=step,
    )
    logits: Tensor = out.logits[0]
    return logits
