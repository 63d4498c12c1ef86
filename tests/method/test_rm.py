"""The reward model's loss as numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from swift.method.rm import Rm
from swift.seam.types import Outputs, Rows, Terms

NONE = float("nan")


def terms(method: Rm, scores: Tensor, margins: list[float]) -> Terms:
    """One score a row; `margins` are the pairs', which both their rows carry."""
    columns = {"margin_B": torch.tensor(margins * 2, dtype=scores.dtype)}
    rows = Rows(row_N=torch.arange(len(scores)), count=len(scores), columns=columns)
    return method.terms(Outputs(logp_N=torch.zeros_like(scores), score_N=scores), rows)


def test_equal_scores_pay_log_two_a_pair() -> None:
    found = terms(Rm(), torch.full((6,), 3.0), [NONE] * 3)
    assert math.isclose(found.total["pairs"], 3 * math.log(2), rel_tol=1e-6)
    assert found.metrics["accuracy"] == (0, 3)


def test_two_pairs_by_hand() -> None:
    scores = torch.tensor([2.0, -1.0, 0.5, 1.0], dtype=torch.float64)
    found = terms(Rm(), scores, [NONE, NONE])
    expected = math.log1p(math.exp(-1.5)) + math.log1p(math.exp(2.0))
    assert math.isclose(found.total["pairs"], expected, rel_tol=1e-12)
    assert found.metrics["accuracy"] == (1, 2)
    assert found.metrics["margin"] == (-0.5, 2)
    assert found.metrics["mean_reward"] == (2.5, 4)
    assert found.metrics["rewards/chosen"] == (1.0, 2)
    assert found.metrics["rewards/rejected"] == (1.5, 2)


def test_a_margin_is_what_the_difference_must_exceed() -> None:
    scores = torch.tensor([2.0, 2.0, 0.5, 0.5], dtype=torch.float64)
    found = terms(Rm(), scores, [1.0, NONE])
    expected = math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-1.5))
    assert math.isclose(found.total["pairs"], expected, rel_tol=1e-12)


def test_centring_adds_the_square_of_the_sum() -> None:
    scores = torch.tensor([2.0, 1.0], dtype=torch.float64)
    plain = terms(Rm(), scores, [NONE]).total["pairs"]
    centred = terms(Rm(center_weight=0.01), scores, [NONE]).total["pairs"]
    assert math.isclose(centred - plain, 0.09, rel_tol=1e-12)


def test_the_gradient_pushes_the_scores_apart() -> None:
    scores = torch.zeros(2, requires_grad=True)
    terms(Rm(), scores, [NONE]).total["pairs"].backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_no_pair_costs_nothing(weight: float) -> None:
    found = terms(Rm(center_weight=weight), torch.zeros(0), [])
    assert found.total["pairs"] == 0
