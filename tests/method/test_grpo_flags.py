"""What TRL and ms-swift call the options of grpo."""

from __future__ import annotations

import pytest

from swift.core.errors import RecipeError
from swift.recipe import read


@pytest.mark.parametrize(
    ("name", "said", "option", "meant"),
    [
        ("num_generations", "4", "group", 4),
        ("max_completion_length", "32", "max_tokens", 32),
        ("temperature", "0.7", "temperature", 0.7),
        ("num_iterations", "2", "iterations", 2),
        ("steps_per_generation", "3", "steps", 3),
        ("importance_sampling_level", "sequence", "ratio", "sequence"),
        ("scale_rewards", "false", "scale", "none"),
        ("scale_rewards", "batch", "scale", "batch"),
        ("loss_type", "dr_grpo", "average", "length"),
        ("loss_type", "cispo", "variant", "cispo"),
        ("mask_truncated_completions", "true", "mask_truncated", True),
        ("overlong_filter", "true", "mask_truncated", True),
        ("dynamic_sample", "true", "dynamic_sampling", True),
        ("max_resample_times", "5", "max_draws", 5),
        ("advantage_estimator", "rloo", "advantage", "leave-one-out"),
        ("kl_in_reward", "true", "kl_in", "reward"),
        ("multi_turn_scheduler", "./tools.py:reply", "turns", "./tools.py:reply"),
        ("epsilon_high", "0.3", "epsilon_high", 0.3),
        ("use_bias_correction_kl", "true", "kl_unbiased", True),
    ],
)
def test_flags_of_other_grpos_are_understood(
    name: str, said: str, option: str, meant: object
) -> None:
    assert dict(read(None, [(name, said)], "grpo").method)[option] == meant


def test_weights_of_rewards_stand_beside_them() -> None:
    with pytest.raises(RecipeError, match="write the weight beside each reward"):
        read(None, [("reward_weights", "[1, 2]")], "grpo")


def test_an_address_that_is_none_is_told_what_one_is_like() -> None:
    with pytest.raises(RecipeError, match=r"http://127\.0\.0\.1:8000/v1"):
        read(None, [("engine.name", "server"), ("engine.url", "nonsense")], "grpo")
