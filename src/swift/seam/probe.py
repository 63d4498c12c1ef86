"""What does a model do to its head's output? Asked of the model itself: its config may mislead.

Two families use one config key with opposite meanings, and one has a soft cap in its config that
its forward does not apply. So the head is made to return known numbers, and the logits that the
model makes of them are fitted with `Post`, then compared everywhere.

Shapes: K rows of questions, V columns of the head, C columns of the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swift.core.errors import PlanError, Problem
from swift.seam.device import widest
from swift.seam.head import Post

_BIG = 1e6
"""A logit beyond any soft cap."""

_TOLERANCE = 1e-5
"""Greatest relative difference between the model's logits and the fitted ones (float32)."""


def question(columns: int, device: torch.device) -> Tensor:
    """Return what a head of V = `columns` shall answer: [1, K, V], in the device's widest numbers.

    Rows: zeros; numbers as logits are; sizes from 1e-6 to 1e2; two rows beyond any cap.
    """
    random = torch.Generator().manual_seed(0)
    uniform_KV = torch.rand(3, columns, generator=random, dtype=torch.float64) * 2 - 1
    sign_V = torch.where(uniform_KV[2] < 0, -1.0, 1.0)
    rows = [
        torch.zeros_like(sign_V),
        uniform_KV[0] * 60,
        sign_V * 10 ** (uniform_KV[1] * 4 - 2),
        sign_V * _BIG,
        sign_V * _BIG / 10,
    ]
    return torch.stack(rows)[None].to(widest(device)).to(device)


def fit(asked: Tensor, answer: Tensor, model: str) -> Post:
    """Return the Post that makes `answer` [1, K, C] of `asked` [1, K, V].

    Raises:
        PlanError: No Post does, e.g. where the model adds a bias to its logits.
    """
    rows, columns = asked.shape[1:]
    if answer.dim() != 3 or answer.shape[1] != rows or not 0 < answer.shape[2] <= columns:
        raise _refusal(model, f"logits of shape {list(answer.shape)} for {list(asked.shape)}")
    asked_KC = asked[0, :, : answer.shape[2]].cpu().double()
    answer_KC = answer[0].detach().cpu().double()
    cap = _cap(answer_KC)
    post = Post(
        mul=_factor(asked_KC, answer_KC, cap),
        softcap=cap,
        columns=answer.shape[2] if answer.shape[2] < columns else None,
    )
    difference = (post(asked_KC) - answer_KC).abs()
    scale = answer_KC.abs() + answer_KC[1].abs().max() * 1e-2
    if post.mul == 0 or not bool((difference <= _TOLERANCE * scale).all()):
        raise _refusal(model, "no factor and soft cap that explain its logits")
    return post


def _cap(answer_KC: Tensor) -> float | None:
    """Return the size at which the answer stays, ten times more asked or not; else None."""
    big, less = float(answer_KC[3].abs().median()), float(answer_KC[4].abs().median())
    return big if 0 < big < 2 * less else None


def _factor(asked_KC: Tensor, answer_KC: Tensor, cap: float | None) -> float:
    """Return the factor before the cap, from answers that are large but below half of it."""
    asked, answer = asked_KC[1:3].flatten(), answer_KC[1:3].flatten()
    good = asked != 0
    if cap is not None:
        good &= answer.abs() < cap / 2
    if not bool(good.any()):
        return 0.0
    asked, answer = asked[good], answer[good]
    if cap is not None:
        answer = torch.atanh(answer / cap) * cap
    best = answer.abs().topk(min(100, len(answer))).indices
    return float((answer[best] / asked[best]).median())


def _refusal(model: str, fact: str) -> PlanError:
    return PlanError(
        Problem(
            where="model",
            what=f"{model} turns its output head's answer into logits in a way not known here: "
            f"{fact}",
            fix="choose a causal language model that only scales, caps or cuts its logits",
        )
    )
