"""The learning rate over a run."""

from __future__ import annotations

import math

import pytest

from swift.run.schedule import rate


def test_the_rise_is_linear_and_spends_no_step_at_zero() -> None:
    assert [rate(s, 100, warmup=4, kind="constant") for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_a_share_is_rounded_up_to_whole_steps() -> None:
    assert [rate(s, 10, warmup=0.11, kind="constant") for s in range(3)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_it_falls_from_one_to_almost_nothing(kind: str) -> None:
    values = [rate(s, 50, warmup=0, kind=kind) for s in range(50)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.03


def test_half_way_down_a_cosine_is_a_half() -> None:
    assert math.isclose(rate(50, 100, warmup=0, kind="cosine"), 0.5)


def test_the_transformers_schedule_is_ours_one_step_later() -> None:
    """transformers spends its first step at zero; from there on the rises are the same."""
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, 5, 40)
    for step in range(40):
        value = theirs.get_last_lr()[0]
        if step >= 5:
            assert math.isclose(rate(step, 40, warmup=5, kind="cosine"), value, abs_tol=1e-12)
        elif step:
            assert math.isclose(rate(step - 1, 40, warmup=5, kind="cosine"), value)
        optimizer.step()
        theirs.step()
