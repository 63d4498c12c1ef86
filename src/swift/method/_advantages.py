"""How much better than others an answer is, out of the rewards of a whole rollout.

A = all answers of a rollout, in any order
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-4
"""Added to a spread that is divided by."""


def advantages(reward_A: Tensor, group_A: Tensor, baseline: str, scale: str) -> Tensor:
    """Return [A]: each reward less its baseline, over its scale.

    Args:
        reward_A: Rewards, float64; not a number where none applied: such an answer counts for no
            other, and its own advantage is 0.
        group_A: Number of the question that each answers.
        baseline: "group": the mean of its group. "leave-one-out": of the others in its group.
            "batch": of all.
        scale: "group" or "batch": the spread there (of a sample: divided by n - 1) + 1e-4. "none".
    """
    import torch

    known_A = ~reward_A.isnan()
    value_A = reward_A.nan_to_num(0.0)
    inside_A = torch.unique(group_A, return_inverse=True)[1]
    of_group = _moments(value_A, known_A, inside_A)
    of_all = _moments(value_A, known_A, torch.zeros_like(inside_A))
    if baseline == "leave-one-out":
        count_A, mean_A, _ = of_group
        # r - (n mean - r) / (n - 1); alone in its group an answer has nobody to be better than
        found_A = (value_A - mean_A) * count_A / (count_A - 1).clamp(min=1)
    else:
        found_A = value_A - (of_group if baseline == "group" else of_all)[1]
    if scale != "none":
        found_A = found_A / ((of_group if scale == "group" else of_all)[2] + _LEAST)
    return found_A * known_A


def _moments(value_A: Tensor, known_A: Tensor, inside_A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean and spread of the known values of each one's group."""
    groups = int(inside_A.max()) + 1 if len(inside_A) else 0
    zeros = value_A.new_zeros(groups)
    counted = zeros.index_add(0, inside_A, known_A.to(value_A))
    mean = zeros.index_add(0, inside_A, value_A * known_A) / counted.clamp(min=1)
    far_A = (value_A - mean[inside_A]) * known_A
    spread = (zeros.index_add(0, inside_A, far_A.square()) / (counted - 1).clamp(min=1)).sqrt()
    return counted[inside_A], mean[inside_A], spread[inside_A]
