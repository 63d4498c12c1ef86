"""What does the output head say of given labels, without ever holding all logits?

Shapes: N positions, H hidden width, V vocabulary (this rank's share of it, if split), R rows of a
chunk. x is a logit after `Post`, p its softmax, z = x log2(e). What goes in and out is in nats.

For one position, d logp / d x = onehot(label) - p, entropy gives d H / d x = -p (log p + H), and
the mean of log p over the vocabulary gives d M / d x = 1 / V - p.
Each depends on the loss through one factor per position only. So with a frozen head the forward
keeps J = d logp / d h ([N, H]) and the backward is J times that factor: two products with the
weight in all, and neither the weight nor a logit is kept. A head that trains needs p once more for
its own gradient: the backward computes the logits again, chunk by chunk (or, where all of them take
no more than `_KEEP_BYTES`, the forward keeps p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from swift.seam._chunks import CACHE_BYTES, CHUNK_BYTES, Chunks, Work

_LN2 = math.log(2)

_KEEP_BYTES = 64 * 2**20
"""The most bytes of probabilities that a head that trains keeps for its backward."""


@dataclass(frozen=True, kw_only=True)
class Post:
    """What a model does to its head's output: cut to columns, multiply, then cap by tanh."""

    mul: float = 1.0
    """Factor on the logits."""

    softcap: float | None = None
    """c of z = c tanh(z / c), after `mul`; None where there is none."""

    columns: int | None = None
    """How many of the first columns are tokens; None where all are."""

    def heated(self, heat: float) -> Post:
        """Return what the model does, and a division by `heat` after it."""
        return replace(self, mul=self.mul / heat, softcap=self.softcap and self.softcap / heat)

    def __call__(self, logits: Tensor) -> Tensor:
        """Return transformed logits [..., columns], out of place."""
        logits = logits[..., : self.columns] * self.mul
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap


class Answer(NamedTuple):
    """What a head says of labels, in nats; None is not asked for."""

    logp_N: Tensor
    entropy_N: Tensor | None = None
    mean_logp_N: Tensor | None = None


def head_logp(
    h_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    bias: Tensor | None = None,
    *,
    post: Post = Post(),
    entropy: bool = False,
    mean_logp: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
    group: dist.ProcessGroup | None = None,
    vocab_start: int = 0,
) -> Answer:
    """Return log p(label) [N] of softmax(post(h W^T + bias)), and what else is asked of it.

    Computed in float32 (float64 for float64 input); the products with W in its own precision, or
    in autocast's. Differentiable once in h, weight and bias; N = 0 gives zero gradients.

    Args:
        h_NH: What the head is given, at the wanted positions only.
        weight_VH: The head's weight, or this rank's rows of it.
        labels_N: int64, in the whole vocabulary.
        bias: [V], or this rank's share.
        post: What follows the head.
        entropy: Whether to compute it; it costs about one product more where h wants a gradient.
        mean_logp: Whether to compute the mean of log p over the vocabulary; costs the same.
        chunk_bytes: The most bytes for logits at any time (one row is always held).
        group: The ranks the vocabulary is split over; all call with the same h and labels.
        vocab_start: The first column of this rank's share.
    """
    if torch.is_autocast_enabled(h_NH.device.type) and h_NH.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(h_NH.device.type)
        bias = None if bias is None else bias.to(dtype)
        h_NH, weight_VH = h_NH.to(dtype), weight_VH.to(dtype)
    if post.columns is not None and post.columns < vocab_start + weight_VH.shape[0]:
        stop = max(0, post.columns - vocab_start)
        weight_VH, bias = weight_VH[:stop], None if bias is None else bias[:stop]
    work = Work(
        mul=post.mul,
        softcap=post.softcap,
        entropy=entropy,
        mean_logp=mean_logp,
        chunk_bytes=chunk_bytes,
        group=group,
        start=vocab_start,
        graph=torch.is_grad_enabled(),
    )
    return Answer(
        *_HeadLogp.apply(h_NH, weight_VH, bias, labels_N, work)  # type: ignore[no-untyped-call]
    )


@dataclass(kw_only=True)
class _Found:
    """What the forward fills, chunk by chunk; None is not wanted."""

    logp_N: Tensor
    entropy_N: Tensor | None = None
    mean_logp_N: Tensor | None = None
    lse_N: Tensor | None = None
    """log2 of the sum of 2^z."""

    p_NV: Tensor | None = None
    jacobian_NH: Tensor | None = None
    jacobian_H_NH: Tensor | None = None
    """d entropy / d h, where the other one is d logp / d h ..."""

    jacobian_M_NH: Tensor | None = None
    """... and d mean_logp / d h."""


class _HeadLogp(torch.autograd.Function):
    """logp, entropy, mean of log p; the gradient as the file's docstring has it."""

    @staticmethod
    def forward(
        ctx: Any,
        h_NH: Tensor,
        weight_VH: Tensor,
        bias: Tensor | None,
        y_N: Tensor,
        work: Work,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.set_materialize_grads(False)
        ctx.work, ctx.hidden_dtype = work, h_NH.dtype
        wants_h, wants_w, wants_b = ctx.needs_input_grad[:3]
        ctx.trains = wants_w or wants_b
        chunks = Chunks(h_NH, weight_VH, bias, y_N, work)
        ctx.columns = chunks.total() if work.mean_logp else 0
        found = _Found(logp_N=chunks.z_RV.new_empty(h_NH.shape[0]))
        found.entropy_N = torch.empty_like(found.logp_N) if work.entropy else None
        found.mean_logp_N = torch.empty_like(found.logp_N) if work.mean_logp else None
        if work.graph and ctx.trains:
            found.lse_N = torch.empty_like(found.logp_N)
            found.p_NV = _kept(chunks)
        elif work.graph and wants_h:
            found.jacobian_NH = weight_VH.new_empty(h_NH.shape)
            found.jacobian_H_NH = torch.empty_like(found.jacobian_NH) if work.entropy else None
            found.jacobian_M_NH = torch.empty_like(found.jacobian_NH) if work.mean_logp else None
        for at in chunks:
            _forward(chunks, at, found, ctx.columns)
        if work.graph and ctx.trains:
            ctx.save_for_backward(
                h_NH, weight_VH, bias, y_N, found.lse_N, found.entropy_N, found.p_NV
            )
        elif work.graph:
            ctx.save_for_backward(found.jacobian_NH, found.jacobian_H_NH, found.jacobian_M_NH)
        return found.logp_N, found.entropy_N, found.mean_logp_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(g is None for g in grads):
            return None, None, None, None, None
        if ctx.trains:
            dh_NH, dweight_VH, dbias = _backward(ctx, *grads)
        else:
            dh_NH, dweight_VH, dbias = _from_jacobian(ctx, grads), None, None
        if dh_NH is not None:
            if ctx.work.group is not None:
                dist.all_reduce(dh_NH, group=ctx.work.group)
            dh_NH = dh_NH.to(ctx.hidden_dtype)
        return dh_NH, dweight_VH, dbias, None, None


def _kept(chunks: Chunks) -> Tensor | None:
    """Return room for all probabilities where that is little and they say all."""
    size = (chunks.h_NH.shape[0], chunks.weight_VH.shape[0])
    small = size[0] * size[1] * chunks.dtype.itemsize <= min(_KEEP_BYTES, chunks.work.chunk_bytes)
    plain = not chunks.work.entropy and chunks.work.softcap is None
    return chunks.z_RV.new_empty(size) if small and plain else None


def _forward(chunks: Chunks, at: slice, found: _Found, columns: int) -> None:
    """Fill rows `at` of all that is wanted; `columns` is V of the whole vocabulary."""
    z_nV = chunks.logits(at)
    label_n = chunks.picked(z_nV, at)
    most_n = _most(z_nV, chunks.work.group)
    e_nV = torch.exp2(z_nV.sub_(most_n[:, None]), out=chunks.e_RV[: z_nV.shape[0]])
    sum_n = e_nV.sum(1)
    mean_n = sum_n if found.entropy_N is None else _dots(e_nV, z_nV)
    even_n = sum_n if found.mean_logp_N is None else z_nV.sum(1)
    if chunks.work.group is not None:
        sums = torch.stack([sum_n, label_n, mean_n, even_n])
        dist.all_reduce(sums, group=chunks.work.group)
        sum_n, label_n, mean_n, even_n = sums
    log_n = sum_n.log2()
    torch.mul(label_n.sub_(most_n).sub_(log_n), _LN2, out=found.logp_N[at])
    if found.lse_N is not None:
        torch.add(most_n, log_n, out=found.lse_N[at])
    if found.p_NV is not None:
        torch.div(e_nV, sum_n[:, None], out=found.p_NV[at])
    if found.entropy_N is not None:
        mean_n = mean_n / sum_n
        torch.mul(log_n - mean_n, _LN2, out=found.entropy_N[at])
    if found.mean_logp_N is not None:
        torch.mul(even_n / columns - log_n, _LN2, out=found.mean_logp_N[at])
    scale_n = -chunks.work.mul / sum_n
    if found.jacobian_H_NH is not None:
        z_nV.sub_(mean_n[:, None]).mul_(e_nV).mul_(scale_n[:, None] * _LN2)
        torch.mm(chunks.ready(z_nV), chunks.weight_VH, out=found.jacobian_H_NH[at])
    if found.jacobian_M_NH is not None:
        torch.sub(e_nV, (sum_n / columns)[:, None], out=z_nV).mul_(scale_n[:, None])
        torch.mm(chunks.ready(z_nV), chunks.weight_VH, out=found.jacobian_M_NH[at])
    if found.jacobian_NH is not None:
        chunks.less_label(e_nV, sum_n, at).mul_(scale_n[:, None])
        torch.mm(chunks.ready(e_nV), chunks.weight_VH, out=found.jacobian_NH[at])


def _most(z_nV: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the greatest logit of each row, over the whole vocabulary."""
    if group is None:
        return z_nV.amax(1)
    most_n = z_nV.amax(1) if z_nV.shape[1] else z_nV.new_full((z_nV.shape[0],), -torch.inf)
    dist.all_reduce(most_n, dist.ReduceOp.MAX, group=group)
    return most_n


def _dots(a_nV: Tensor, b_nV: Tensor) -> Tensor:
    """Return the dot product of each pair of rows, without a product of their size."""
    return torch.bmm(a_nV[:, None], b_nV[:, :, None])[:, 0, 0]


def _from_jacobian(ctx: Any, grads: tuple[Tensor | None, ...]) -> Tensor:
    """Return d loss / d h of a frozen head: each Jacobian's rows times their factor, added."""
    pairs = zip(ctx.saved_tensors, grads, strict=True)
    parts: list[Tensor] = [j * g[:, None] for j, g in pairs if j is not None and g is not None]
    for part in parts[1:]:
        parts[0].add_(part)
    return parts[0]


@dataclass(frozen=True, kw_only=True)
class _Factors:
    """d loss / d each answer [N], times -mul; None where the loss does not ask for it."""

    logp: Tensor
    entropy: Tensor | None
    mean_logp: Tensor | None
    columns: int
    """V of the whole vocabulary."""

    def of(self, chunks: Chunks, p_nV: Tensor, at: slice, out: Tensor) -> Tensor:
        """Return g (p - onehot) + gM (p - 1/V) of rows `at`, in `out`, which may be p."""
        g_n = self.logp[at]
        if self.mean_logp is None:
            torch.mul(p_nV, g_n[:, None], out=out)
        else:
            even_n = self.mean_logp[at]
            torch.mul(p_nV, (g_n + even_n)[:, None], out=out).sub_((even_n / self.columns)[:, None])
        return chunks.less_label(out, g_n, at)


def _backward(
    ctx: Any, g_N: Tensor | None, gH_N: Tensor | None, gM_N: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return d loss / d (h, weight, bias) of a head that trains."""
    h_NH, weight_VH, bias, y_N, lse_N, entropy_N, p_NV = ctx.saved_tensors
    chunks = Chunks(h_NH, weight_VH, bias, y_N, ctx.work)
    wants_h, wants_w, wants_b = ctx.needs_input_grad[:3]
    dh_NH = torch.empty_like(h_NH) if wants_h else None
    dweight_VH = weight_VH.new_zeros(weight_VH.shape, dtype=chunks.dtype) if wants_w else None
    dbias = weight_VH.new_zeros(bias.shape, dtype=chunks.dtype) if wants_b else None
    factors = _Factors(
        logp=torch.zeros_like(lse_N) if g_N is None else g_N * -ctx.work.mul,
        entropy=None if gH_N is None else gH_N * -ctx.work.mul,
        mean_logp=None if gM_N is None else gM_N * -ctx.work.mul,
        columns=ctx.columns,
    )
    for at in chunks:
        if p_NV is not None:
            dz_nV = factors.of(chunks, p_NV[at], at, chunks.z_RV[: at.stop - at.start])
        else:
            dz_nV = _again(chunks, at, lse_N[at], entropy_N, factors)
        dz_nV = chunks.ready(dz_nV)
        if dh_NH is not None:
            torch.mm(dz_nV, weight_VH, out=dh_NH[at])
        if dweight_VH is not None:
            _add_product(dweight_VH, dz_nV, h_NH[at])
        if dbias is not None:
            dbias += dz_nV.sum(0, dtype=dbias.dtype)
    dweight_VH, dbias = (None if d is None else d.to(weight_VH.dtype) for d in (dweight_VH, dbias))
    return dh_NH, dweight_VH, dbias


def _again(
    chunks: Chunks, at: slice, lse_n: Tensor, entropy_N: Tensor | None, factors: _Factors
) -> Tensor:
    """Return what `_Factors.of` does, + gH p (log p + H), from logits computed again."""
    z_nV = chunks.logits(at).sub_(lse_n[:, None])
    p_nV = torch.exp2(z_nV, out=chunks.e_RV[: z_nV.shape[0]])
    if factors.entropy is None or entropy_N is None:
        return factors.of(chunks, p_nV, at, p_nV)
    z_nV.mul_(_LN2).add_(entropy_N[at, None]).mul_(p_nV).mul_(factors.entropy[at, None])
    return factors.of(chunks, p_nV, at, p_nV).add_(z_nV)


def _add_product(out_VH: Tensor, a_nV: Tensor, b_nH: Tensor) -> None:
    """Add a^T b to `out`, which may be of a higher precision, in slices of bounded size."""
    if out_VH.dtype == a_nV.dtype:
        out_VH.addmm_(a_nV.t(), b_nH)
        return
    step = max(1, CACHE_BYTES // max(1, b_nH.shape[1] * b_nH.dtype.itemsize))
    for first in range(0, out_VH.shape[0], step):
        at = slice(first, first + step)
        out_VH[at] += torch.mm(a_nV[:, at].t(), b_nH)
