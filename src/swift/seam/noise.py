"""Noise on what a model reads, so that it learns answers and not their wording (NEFTune).

Jain et al., 2023 (arXiv:2310.05914), algorithm 1: to the embeddings of a sequence of L tokens, d
wide, is added uniform noise in (-1, 1) times alpha / sqrt(L d). It is the length of the sequence's
own tokens, and padding gets none, so that rows laid end to end meet the noise of padded ones.

Shapes: B rows, T positions, L tokens of a sequence, M of all sequences of the micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem
from swift.seam.types import Batch


@contextmanager
def noisy(model: nn.Module, batch: Batch, alpha: float) -> Iterator[None]:
    """Let `model` read `batch` through noise in its next forward.

    Numbers are drawn by torch's generator of the device, one for each number of each own token, in
    the order of the sequences: the same for padded rows and for rows end to end.

    Args:
        model: Whose input embeddings get it, after all other hooks.
        batch: What it is about to read.
        alpha: Size of the noise; 5 to 15 in the paper.

    Raises:
        PlanError: The model has no input embeddings, or does not ask them for its words just once.
    """
    calls: list[torch.Size] = []

    def add(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        calls.append(out.shape)
        if out.shape[:-1] != batch.labels_BT.shape:
            return out
        return _with_noise(out, batch, alpha)

    handle = _embeddings(model).register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
    if [shape[:-1] for shape in calls] != [batch.labels_BT.shape]:
        raise _unusable(model, f"asks its embeddings for {[list(shape) for shape in calls]}")


def _with_noise(out_BTd: Tensor, batch: Batch, alpha: float) -> Tensor:
    """Return the embeddings with noise at all sequences' own tokens."""
    width, device = out_BTd.shape[-1], out_BTd.device
    dtype = torch.promote_types(out_BTd.dtype, torch.float32)
    sizes_L = torch.tensor(batch.sizes, dtype=torch.int64, device=device)
    scale_L = alpha / (sizes_L * width).to(dtype).sqrt()
    at_M = _places(batch.sizes, batch).to(device)
    noise_Md = torch.rand(len(at_M), width, dtype=dtype, device=device).mul_(2).sub_(1)
    noise_Md.mul_(scale_L.repeat_interleave(sizes_L)[:, None])
    flat = torch.zeros(out_BTd.shape, dtype=dtype, device=device).view(-1, width)
    return (out_BTd + flat.index_copy_(0, at_M, noise_Md).view(out_BTd.shape)).to(out_BTd.dtype)


def _places(sizes: Sequence[int], batch: Batch) -> Tensor:
    """Return where the sequences' own tokens stand among the B T positions, [M]."""
    if "segments" in batch.inputs:
        return torch.arange(sum(sizes))
    wide = batch.labels_BT.shape[1]
    rows = [torch.arange(row * wide, row * wide + size) for row, size in enumerate(sizes)]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *rows])


def _embeddings(model: nn.Module) -> nn.Module:
    try:
        found = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        found = None
    if not isinstance(found, nn.Module):
        raise _unusable(model, "has no input embeddings")
    return found


def _unusable(model: nn.Module, fact: str) -> PlanError:
    what = f"{type(model).__name__} {fact}: no noise can be laid on what it reads"
    return PlanError(Problem(where="train.neftune", what=what, fix="leave train.neftune out"))
