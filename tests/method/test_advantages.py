"""How much better than others an answer is: laws that hold for any rewards, and TRL's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from swift.method._advantages import advantages

NONE = float("nan")
Baseline = Literal["group", "leave-one-out", "batch"]
BASELINES: Sequence[Baseline] = ("group", "leave-one-out", "batch")

number = st.floats(-100, 100).map(lambda x: round(x, 3))
cases = st.lists(st.tuples(st.integers(0, 4), number | st.just(NONE)), min_size=1, max_size=24)
"""(question, reward) of each answer, in any order; some without a reward, some alone."""

at_leisure = settings(max_examples=60, deadline=None)

Case = list[tuple[int, float]]


def found(case: Case, baseline: str, scale: str, by: Any = lambda reward_A: reward_A) -> Tensor:
    reward_A = torch.tensor([reward for _, reward in case], dtype=torch.float64)
    group_A = torch.tensor([group for group, _ in case], dtype=torch.float64)
    return advantages(by(reward_A), group_A, baseline, scale)


def close(a: Tensor, b: Tensor, within: float = 1e-9) -> bool:
    return bool(torch.allclose(a, b, rtol=within, atol=within))


@at_leisure
@given(case=cases, shift=number, baseline=st.sampled_from(BASELINES))
def test_a_reward_that_all_get_changes_nothing(case: Case, shift: float, baseline: str) -> None:
    moved = found(case, baseline, "none", lambda reward_A: reward_A + shift)
    assert close(found(case, baseline, "none"), moved)


@at_leisure
@given(case=cases, factor=st.floats(0.5, 100), scale=st.sampled_from(["group", "batch"]))
def test_the_unit_of_rewards_does_not_matter_but_for_what_is_added_to_the_spread(
    case: Case, factor: float, scale: str
) -> None:
    plain, larger = (
        found(case, "group", scale, lambda reward_A, by=by: reward_A * by) for by in (1.0, factor)
    )
    raw = found(case, "group", "none").abs()
    spread = torch.where(raw > 0, raw / plain.abs() - 1e-4, 1.0)  # as raw / (spread + 1e-4) = plain
    known = spread > 1e-6
    wanted = plain * (spread + 1e-4) / (spread + 1e-4 / factor)
    assert close(larger[known], wanted[known], 1e-6)


@at_leisure
@given(case=cases, scale=st.sampled_from(["group", "none"]))
@pytest.mark.parametrize("baseline", ["group", "leave-one-out"])
def test_what_a_group_gains_it_loses(baseline: str, scale: str, case: Case) -> None:
    of_each = found(case, baseline, scale)
    for group in {group for group, _ in case}:
        mine = torch.tensor([one == group for one, _ in case])
        assert abs(float(of_each[mine].sum())) < 1e-8


@at_leisure
@given(case=cases)
def test_leaving_oneself_out_stretches_the_difference_by_n_over_n_less_1(case: Case) -> None:
    of_group, of_others = (found(case, b, "none") for b in ("group", "leave-one-out"))
    for i, (group, _) in enumerate(case):
        n = sum(1 for other, reward in case if other == group and reward == reward)
        factor = n / (n - 1) if n > 1 else 1.0
        assert float(of_others[i]) == pytest.approx(factor * float(of_group[i]), abs=1e-9)


@at_leisure
@given(case=cases, baseline=st.sampled_from(BASELINES), seed=st.integers(0, 99))
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_the_order_of_answers_does_not_matter(
    scale: str, case: Case, baseline: str, seed: int
) -> None:
    order = torch.randperm(len(case), generator=torch.Generator().manual_seed(seed)).tolist()
    mixed = found([case[i] for i in order], baseline, scale)
    assert close(found(case, baseline, scale)[order], mixed)


@at_leisure
@given(case=cases, baseline=st.sampled_from(BASELINES))
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_an_answer_without_reward_is_as_if_it_were_not_there(
    scale: str, case: Case, baseline: str
) -> None:
    known = [i for i, (_, reward) in enumerate(case) if reward == reward]
    whole = found(case, baseline, scale)
    assert close(whole[known], found([case[i] for i in known], baseline, scale))
    assert not any(float(whole[i]) for i in range(len(case)) if i not in known)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("lost", [0, 4])
def test_they_are_trls_numbers(scale: str, lost: int) -> None:
    """Its lines: nanmean and nanstd of the groups, or of all, 1e-4, 0 where there is no reward."""
    utils = pytest.importorskip("trl.trainer.utils")
    rewards = torch.randn(6, 4, generator=torch.Generator().manual_seed(lost)).double()
    rewards.view(-1)[[1, 6, 7, 21][:lost]] = NONE
    spread = utils.nanstd(rewards, dim=1)[:, None] if scale == "group" else utils.nanstd(rewards)
    wanted = rewards - rewards.nanmean(1, keepdim=True)
    wanted = wanted if scale == "none" else wanted / (spread + 1e-4)
    case = [(g, float(r)) for g, row in enumerate(rewards) for r in row]
    assert close(found(case, "group", scale), wanted.nan_to_num(0.0).flatten(), 1e-7)


def test_in_a_group_that_is_all_alike_nobody_is_better() -> None:
    for scale in ("group", "batch", "none"):
        assert found([(0, 0.1), (0, 0.1), (0, 0.1), (1, 5.0), (1, 6.0)], "group", scale)[
            :3
        ].tolist() == pytest.approx([0, 0, 0], abs=1e-10)
