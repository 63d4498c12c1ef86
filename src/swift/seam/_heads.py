"""How is a head of a given kind asked: a plain matrix, one split over ranks, or anything else?

Shapes: N positions, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard
from torch.utils.checkpoint import checkpoint

from swift.core.errors import PlanError, Problem
from swift.seam._chunks import CHUNK_BYTES
from swift.seam.head import Post, head_logp

Answer: TypeAlias = tuple[Tensor, Tensor | None]
"""logp [N], entropy [N] or None."""

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
) -> Answer:
    """Return log-probabilities of labels by `head`, whose unpatched forward is `own`."""
    if not _is_matrix(head):
        return generic_logp(own, h_NH, labels_N, post, entropy=entropy)
    if isinstance(head.weight, DTensor):
        return _split_logp(head.weight, head.bias, h_NH, labels_N, post, entropy)
    return head_logp(h_NH, head.weight, labels_N, head.bias, post=post, entropy=entropy)


def _is_matrix(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether `head` does what nn.Linear does; neither name nor attributes of LoRA's say."""
    return isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward


def _split_logp(
    weight: DTensor,
    bias: Tensor | None,
    h_NH: Tensor,
    labels_N: Tensor,
    post: Post,
    entropy: bool,
) -> Answer:
    """As `head_logp`, of a weight whose rows are split over one dimension of a mesh."""
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
    local_bias = bias.to_local() if isinstance(bias, DTensor) else bias
    return head_logp(
        h_NH,
        weight.to_local(),
        labels_N,
        local_bias,
        post=post,
        entropy=entropy,
        group=mesh.get_group(),
        vocab_start=min(share * mesh.get_local_rank(), weight.shape[0]),
    )


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
    entropy: bool,
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
        if not entropy:
            return logp_n, None
        mean_n = ((logits_nV - lse_n[:, None]).exp() * logits_nV).sum(-1)
        return logp_n, lse_n - mean_n

    rows = _rows(own, h_NH, chunk_bytes)
    if h_NH.shape[0] <= rows:
        return ask(h_NH, labels_N)
    pairs = zip(torch.split(h_NH, rows), torch.split(labels_N, rows), strict=True)
    found = [checkpoint(ask, *pair, use_reentrant=False) for pair in pairs]
    logp_N = torch.cat([logp_n for logp_n, _ in found])
    return logp_N, torch.cat([entropy_n for _, entropy_n in found]) if entropy else None


def _rows(own: Callable[[Tensor], Tensor], h_NH: Tensor, chunk_bytes: int) -> int:
    """Return how many rows of logits fit."""
    with torch.no_grad():
        columns = own(h_NH[:1]).shape[-1]
    item = max(4, h_NH.dtype.itemsize)
    return max(1, chunk_bytes // (columns * item * _COPIES))
