"""A door of Python's for each method, and what may stand under `reward`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import swift
from swift import train, train_grpo
from swift.core.errors import RecipeError, UserError
from swift.method import methods
from swift.recipe import Recipe
from swift.reward import Answer
from swift.reward.accuracy import Accuracy
from swift.reward.format import Format
from swift.reward.function import Function
from swift.run import launch
from swift.run.given import Given

Seen = list[tuple[Recipe, Given]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Seen:
    """What would have been launched."""
    found: Seen = []

    def take(recipe: Recipe, given: Given) -> Path:
        found.append((recipe, given))
        return tmp_path / "run" / "checkpoint-1"

    monkeypatch.setattr(launch, "launch", take)
    return found


def brief(answers: Sequence[Answer]) -> list[float | None]:
    return [-float(len(answer.text)) for answer in answers]


def by_trl(completions: Any, **columns: Any) -> list[float]:
    return [0.0 for _ in completions]


@pytest.mark.parametrize("name", sorted(methods))
def test_every_method_has_a_door(name: str, seen: Seen) -> None:
    door = getattr(swift, f"train_{name}")
    door("nano", dataset="mine", max_steps=2)
    ((recipe, given),) = seen
    assert (recipe.method.name, recipe.model.id, recipe.train.max_steps) == (name, "nano", 2)
    assert [d.name for d in recipe.dataset] == ["mine"]
    assert not given.any
    assert inspect.getdoc(door)


def test_functions_names_and_maps_are_rewards_side_by_side(seen: Seen) -> None:
    said = [brief, "accuracy", {"name": "format", "weight": 0.5}, by_trl]
    train("nano", method="grpo", reward=said)
    ((recipe, given),) = seen
    assert [r.label for r in recipe.reward] == ["brief", "accuracy", "format", "by_trl"]
    assert recipe.reward[1:3] == (Accuracy(), Format(weight=0.5))
    assert given.rewards == (recipe.reward[0], recipe.reward[3])
    assert given.any


def test_one_function_is_enough_and_trl_calls_it_reward_funcs(seen: Seen) -> None:
    train_grpo("nano", reward=brief)
    train_grpo("nano", reward_funcs=[brief])
    for recipe, given in seen:
        assert [r.label for r in recipe.reward] == ["brief"]
        assert given.rewards == recipe.reward


def test_names_alone_need_no_live_process(seen: Seen) -> None:
    train_grpo("nano", reward="accuracy, format")
    train_grpo("nano", reward_funcs="accuracy,format")
    train_grpo("nano", reward=["accuracy", "format"])
    for recipe, given in seen[1:]:
        assert recipe.reward == (Accuracy(), Format())
        assert not given.any


def test_weights_go_one_to_one(seen: Seen) -> None:
    train_grpo("nano", reward=["accuracy", brief, {"name": "format"}], reward_weights=[2, 0.5, 1])
    ((recipe, _),) = seen
    assert [r.weight for r in recipe.reward] == [2, 0.5, 1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reward": ["accuracy"], "reward_weights": [1, 2]}, "2 weights for 1 rewards"),
        ({"reward": "accuracy", "reward_funcs": "format"}, "nothing beside `reward`"),
        ({"reward_weights": [1.0]}, "`reward`, too"),
        ({"reward": brief, "reward_weights": [float("nan")]}, "a reward's weight is `nan`"),
        ({"reward": torch.nn.Linear(1, 1)}, "a live Linear is no reward"),
    ],
)
def test_what_is_no_reward_is_refused(options: dict[str, Any], says: str, seen: Seen) -> None:
    with pytest.raises(UserError) as error:
        train_grpo("nano", **options)
    assert says in str(error.value)
    assert seen == []


def test_a_number_is_no_reward(seen: Seen) -> None:
    with pytest.raises(RecipeError, match="`reward"):
        train_grpo("nano", reward=[brief, 5])


def test_a_method_that_draws_nothing_takes_no_function(seen: Seen) -> None:
    with pytest.raises(RecipeError, match="`sft` draws no answers"):
        train("nano", method="sft", reward=brief)
    assert isinstance(Function.of(brief), Function)
