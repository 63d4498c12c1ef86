"""How is a head of a given kind asked: a plain matrix, one split over ranks, or anything else?

Shapes: N positions, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard
from torch.utils.checkpoint import checkpoint

from swift.core.errors import PlanError, Problem
from swift.seam._chunks import CHUNK_BYTES
from swift.seam.head import Answer, Post, head_logp

_COPIES = 4
"""How many arrays of a chunk's logits autograd holds at once on the generic way."""


def logp_of(
    head: nn.Module,
    own: Callable[[Tensor], Tensor],
    h_NH: Tensor,
    labels_N: Tensor,
    post: Post,
    *,
    entropy: bool,
    mean_logp: bool,
) -> Answer:
    """Return log-probabilities of labels by `head`, whose unpatched forward is `own`."""
    if not _is_matrix(head):
        return generic_logp(own, h_NH, labels_N, post, entropy=entropy, mean_logp=mean_logp)
    weight, bias, split = _share(head.weight, head.bias)
    return head_logp(
        h_NH,
        weight,
        labels_N,
        bias,
        post=post,
        entropy=entropy,
        mean_logp=mean_logp,
        group=split.group,
        vocab_start=split.start,
    )


def _is_matrix(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether `head` does what nn.Linear does; neither name nor attributes of LoRA's say."""
    return isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward


@dataclass(frozen=True)
class _Split:
    """Over which ranks a vocabulary is split, and where this one's share begins."""

    group: dist.ProcessGroup | None = None
    start: int = 0


def _share(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None, _Split]:
    """Return this rank's share of a head, which may be split by rows over one mesh dimension."""
    if not isinstance(weight, DTensor):
        return weight, bias, _Split()
    mesh, placements = weight.device_mesh, weight.placements
    if mesh.ndim != 1 or placements != (Shard(0),):
        raise PlanError(
            Problem(
                where="parallel",
                what=f"the output head is split as {placements} over a mesh of {mesh.ndim} "
                "dimensions; only by vocabulary over one is known",
            )
        )
    share = -(-weight.shape[0] // mesh.size())
    start = min(share * mesh.get_local_rank(), weight.shape[0])
    local_bias = bias.to_local() if isinstance(bias, DTensor) else bias
    return weight.to_local(), local_bias, _Split(mesh.get_group(), start)


def columns_of(head: nn.Module, own: Callable[[Tensor], Tensor], hidden_BTH: Tensor) -> int:
    """Return V."""
    if _is_matrix(head):
        return int(head.weight.shape[0])
    with torch.no_grad():
        return int(own(hidden_BTH[:1, :1]).shape[-1])


def generic_logp(
    own: Callable[[Tensor], Tensor],
    h_NH: Tensor,
    labels_N: Tensor,
    post: Post,
    *,
    entropy: bool = False,
    mean_logp: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Answer:
    """Return log-probabilities by any head: chunks under autograd, computed again backward.

    Slower than `head_logp` (a head that is no plain matrix, e.g. with LoRA on it), in the same
    bounded memory.
    """

    def ask(h_nH: Tensor, labels_n: Tensor) -> Answer:
        logits_nV = post(own(h_nH))
        logits_nV = logits_nV.to(torch.promote_types(logits_nV.dtype, torch.float32))
        lse_n = logits_nV.logsumexp(-1)
        logp_n = logits_nV.gather(1, labels_n[:, None])[:, 0] - lse_n
        return Answer(
            logp_n,
            lse_n - _expected(logits_nV, lse_n) if entropy else None,
            logits_nV.mean(-1) - lse_n if mean_logp else None,
        )

    rows = _rows(own, h_NH, chunk_bytes)
    if h_NH.shape[0] <= rows:
        return ask(h_NH, labels_N)
    pairs = zip(torch.split(h_NH, rows), torch.split(labels_N, rows), strict=True)
    found = [checkpoint(ask, *pair, use_reentrant=False) for pair in pairs]
    return Answer(
        torch.cat([part.logp_N for part in found]),
        _joined([part.entropy_N for part in found]),
        _joined([part.mean_logp_N for part in found]),
    )


def _expected(logits_nV: Tensor, lse_n: Tensor) -> Tensor:
    """Return the mean of each row's logits under its own softmax."""
    return ((logits_nV - lse_n[:, None]).exp() * logits_nV).sum(-1)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None


def _rows(own: Callable[[Tensor], Tensor], h_NH: Tensor, chunk_bytes: int) -> int:
    """Return how many rows of logits fit."""
    with torch.no_grad():
        columns = own(h_NH[:1]).shape[-1]
    item = max(4, h_NH.dtype.itemsize)
    return max(1, chunk_bytes // (columns * item * _COPIES))
