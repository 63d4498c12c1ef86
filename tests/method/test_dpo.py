"""DPO as numbers, and beside the reference implementation."""

from __future__ import annotations

import math

import torch

from swift.method.dpo import Dpo
from swift.seam.types import Outputs, Rows


def rows(count: int, reference_N: torch.Tensor) -> Rows:
    """Two tokens a row."""
    return Rows(
        row_N=torch.arange(count).repeat_interleave(2),
        count=count,
        columns={"reference_logp_B": reference_N.reshape(count, 2).sum(1)},
    )


def test_an_unmoved_policy_pays_log_two_a_pair() -> None:
    logp_N = torch.randn(16)
    terms = Dpo().terms(Outputs(logp_N=logp_N), rows(8, logp_N))
    assert math.isclose(terms.total["pairs"], 4 * math.log(2), rel_tol=1e-6)
    assert terms.metrics["rewards/margins"] == (0.0, 4)


def test_a_hand_computed_pair() -> None:
    logp_N = torch.tensor([-1.0, -2.0, -4.0, -3.0])  # chosen -3, rejected -7
    reference_N = torch.tensor([-2.0, -2.0, -2.0, -2.0])  # both -4
    terms = Dpo(beta=0.5).terms(Outputs(logp_N=logp_N), rows(2, reference_N))
    margin = 0.5 * ((-3 + 4) - (-7 + 4))
    assert math.isclose(terms.total["pairs"], math.log1p(math.exp(-margin)), rel_tol=1e-6)
    assert terms.metrics["rewards/accuracies"] == (1, 1)


def test_the_gradient_pushes_the_pair_apart() -> None:
    logp_N = torch.zeros(4, requires_grad=True)
    total = Dpo(beta=0.2).terms(Outputs(logp_N=logp_N), rows(2, torch.zeros(4))).total["pairs"]
    total.backward()  # type: ignore[no-untyped-call]
    assert logp_N.grad is not None
    assert torch.allclose(logp_N.grad, torch.tensor([-0.1, -0.1, 0.1, 0.1]))


def test_no_pair_costs_nothing() -> None:
    none = torch.zeros(0)
    terms = Dpo().terms(Outputs(logp_N=none), rows(0, none))
    assert terms.total["pairs"] == 0
