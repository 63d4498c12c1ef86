"""How are the logits of a few positions computed in buffers that all chunks share?

Shapes: N positions, H hidden width, V vocabulary (this rank's share of it, if split), R rows of a
buffer, n <= R rows of a chunk. z is a logit after the model's own transforms, times log2(e), so
that p is 2^z / sum 2^z: exp2 takes a third of exp's time, and the factor hides in a product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

CHUNK_BYTES = 256 * 2**20
"""The most bytes that the logits of one chunk take, with all their working copies."""

CACHE_BYTES = 8 * 2**20
"""Chunks this small stay in a CPU's cache, so that only the products cost time ..."""

CACHE_ROWS = 256
"""... but a product over fewer rows than this reads the weight too often."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is asked for, besides the tensors; the fields are those of `head_logp`."""

    mul: float
    softcap: float | None
    entropy: bool
    mean_logp: bool
    chunk_bytes: int
    group: dist.ProcessGroup | None
    start: int
    graph: bool
    """Whether gradients are wanted at all."""

    @property
    def apart(self) -> bool:
        """Whether z is wanted beside 2^z."""
        return self.entropy or self.mean_logp


class Chunks:
    """Walks over the positions in chunks that share their buffers."""

    def __init__(
        self, h_NH: Tensor, weight_VH: Tensor, bias: Tensor | None, y_N: Tensor, work: Work
    ) -> None:
        self.h_NH, self.weight_VH, self.bias, self.y_N, self.work = h_NH, weight_VH, bias, y_N, work
        self.dtype = torch.float64 if h_NH.dtype == torch.float64 else torch.float32
        self.low = self.dtype != weight_VH.dtype
        self.rows = self._rows(1 + work.apart + (work.softcap is not None))
        size = (self.rows, weight_VH.shape[0])
        self.z_RV = h_NH.new_empty(size, dtype=self.dtype)
        self.e_RV = torch.empty_like(self.z_RV) if work.apart else self.z_RV
        self.slope_RV = None if work.softcap is None else torch.empty_like(self.z_RV)
        self.raw_RV = weight_VH.new_empty(size) if self.low else self.z_RV

    def total(self) -> int:
        """Return V of the whole vocabulary; all of the group ask."""
        columns = self.weight_VH.shape[0]
        if self.work.group is None:
            return columns
        total = torch.tensor(columns, device=self.h_NH.device)
        dist.all_reduce(total, group=self.work.group)
        return int(total)

    def _rows(self, copies: int) -> int:
        """Return R: as many rows as fit the cache, or the limit; the same on all of the group."""
        columns = self.weight_VH.shape[0]
        if self.work.group is not None:
            most = torch.tensor(columns, device=self.h_NH.device)
            dist.all_reduce(most, dist.ReduceOp.MAX, group=self.work.group)
            columns = int(most)
        one = copies * self.dtype.itemsize + self.low * self.weight_VH.dtype.itemsize
        rows = max(1, self.work.chunk_bytes // max(1, columns * one))
        if self.h_NH.device.type == "cpu":
            rows = min(rows, max(CACHE_ROWS, CACHE_BYTES // max(1, columns * one)))
        total = self.h_NH.shape[0]
        return -(-total // max(1, -(-total // rows)))  # chunks of even size

    def __iter__(self) -> Iterator[slice]:
        for first in range(0, self.h_NH.shape[0], max(1, self.rows)):
            yield slice(first, min(first + self.rows, self.h_NH.shape[0]))

    def logits(self, at: slice) -> Tensor:
        """Return z of these rows, in the buffer; fills the buffer of softcap's slope."""
        n, cap = at.stop - at.start, self.work.softcap
        raw, z = self.raw_RV[:n], self.z_RV[:n]
        last = math.log2(math.e) if cap is None else 1 / cap
        first = 1.0 if self.low else self.work.mul * last
        h = self.h_NH[at] if self.low else self.h_NH[at] * first
        if self.bias is None:
            torch.mm(h, self.weight_VH.t(), out=raw)
        else:
            torch.addmm(self.bias, h, self.weight_VH.t(), beta=first, out=raw)
        if self.low:  # after the product: a factor before rounding would move the logits
            z.copy_(raw).mul_(self.work.mul * last)
        if self.slope_RV is not None and cap is not None:
            torch.square(z.tanh_(), out=self.slope_RV[:n]).neg_().add_(1)
            z.mul_(cap * math.log2(math.e))
        return z

    def own(self, at: slice) -> tuple[Tensor, Tensor | None]:
        """Return the labels as columns [n, 1] of this rank, and where they are its own."""
        column_n1 = self.y_N[at, None]
        if self.work.group is None:
            return column_n1, None
        column_n1 = column_n1 - self.work.start
        own_n1 = (column_n1 >= 0) & (column_n1 < self.weight_VH.shape[0])
        return column_n1.masked_fill(~own_n1, 0), own_n1

    def picked(self, z_nV: Tensor, at: slice) -> Tensor:
        """Return the label's logit [n], 0 where another rank has it."""
        column_n1, own_n1 = self.own(at)
        if own_n1 is None:
            return z_nV.gather(1, column_n1)[:, 0]
        if z_nV.shape[1] == 0:
            return z_nV.new_zeros(z_nV.shape[0])
        return z_nV.gather(1, column_n1).masked_fill_(~own_n1, 0)[:, 0]

    def less_label(self, e_nV: Tensor, sum_n: Tensor, at: slice) -> Tensor:
        """Return e - S onehot(label), in place: -S times d logp / d logit where e / S is p."""
        column_n1, own_n1 = self.own(at)
        if e_nV.shape[1] == 0:
            return e_nV
        less_n1 = sum_n.neg()[:, None]
        return e_nV.scatter_add_(1, column_n1, less_n1 if own_n1 is None else less_n1 * own_n1)

    def ready(self, part_nV: Tensor) -> Tensor:
        """Return d / d logit as d / d (h W^T), less `mul`, in the weight's dtype; in place."""
        if self.slope_RV is not None:
            part_nV.mul_(self.slope_RV[: part_nV.shape[0]])
        return self.raw_RV[: part_nV.shape[0]].copy_(part_nV) if self.low else part_nV
