"""Which questions a rollout is made of, and what is told of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swift.chat.message import Message, Sample
from swift.method.grpo import Grpo
from swift.reward import Answer, Reward
from swift.run.rollout.drawn import Drawn
from swift.run.rollout.judging import Asker, of_rewards
from swift.run.rollout.speaking import Asked


class Told(Reward):
    """Says of an answer what the question's column holds for it."""

    name = "told"

    async def judge(self, answers: Sequence[Answer]) -> list[float | None]:
        return [a.columns["rewards"][int(a.text)] for a in answers]


class Echo:
    """Answers with how often the question was asked before."""

    def heard(self, act: Callable[[], Any]) -> Any:
        return act()

    def draw(self, asked: Sequence[Asked]) -> list[Drawn]:
        seen: dict[int, int] = {}
        drawn = []
        for one in asked:
            text = str(seen.get(one.group, 0))
            seen[one.group] = int(text) + 1
            drawn.append(
                Drawn(
                    group=one.group, origin=one.sample.origin, prompt=one.prompt, ids=[1],
                    own=[True], logprobs=[0.0], text=text,
                )
            )  # fmt: skip
        return drawn


class Rows:
    """Questions as tokens."""

    items = None

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def sequence(self, item: int, side: int) -> Any:
        return np.array([item + 1]), np.array([False])


def asker(rewards: Sequence[Sequence[float | None]], **options: Any) -> Asker:
    samples = [
        Sample(
            chosen=(Message(role="user", content=str(i)),),
            columns={"rewards": said},
            origin=f"row {i}",
        )
        for i, said in enumerate(rewards)
    ]
    prepared = SimpleNamespace(train=Rows(len(samples)), questions={"train": samples})
    plan = SimpleNamespace(
        recipe=SimpleNamespace(train=SimpleNamespace(seed=1), data=SimpleNamespace(shuffle=False))
    )
    method = Grpo(group=2, **options)
    stand_ins: tuple[Any, ...] = (plan, method, prepared, Echo(), [Told()])
    return Asker(*stand_ins)


QUESTIONS: list[list[float | None]] = [
    [1.0, 1.0],
    [0.0, 1.0],
    [1.0, None],
    [None, None],
    [2.0, 0.0],
    [3.0, 1.0],
]
"""Of the first and of the two with one known reward or none, nothing can be learnt."""


def test_a_question_that_teaches_nothing_gives_way_to_another() -> None:
    drawn, told, end = asker(QUESTIONS, dynamic_sampling=True).groups(0, 0, 3)
    assert [one.origin for one in drawn] == [f"row {i}" for i in (1, 1, 4, 4, 5, 5)]
    assert end == 6, "all that were asked count as drawn"
    assert told["reward"] == pytest.approx(10.0 / 9), "and are told of"


def test_after_max_draws_the_rollout_takes_what_there_is() -> None:
    drawn, _, end = asker(QUESTIONS, dynamic_sampling=True, max_draws=1).groups(0, 0, 3)
    assert [one.origin for one in drawn] == [f"row {i}" for i in (1, 1, 0, 0, 2, 2)]
    assert end == 3


def test_without_it_questions_come_as_they_are() -> None:
    drawn, _, end = asker(QUESTIONS).groups(0, 4, 3)
    assert [one.origin for one in drawn] == [f"row {i}" for i in (4, 4, 5, 5, 0, 0)]
    assert end == 7
    assert [one.group for one in drawn] == [4, 4, 5, 5, 6, 6]


def test_means_are_over_the_answers_that_were_judged() -> None:
    drawn, _, _ = asker(QUESTIONS).groups(0, 0, 4)
    told = of_rewards(drawn)
    assert told["rewards/told/mean"] == told["reward"] == pytest.approx(4.0 / 5)
    assert told["frac_reward_zero_std"] == pytest.approx(2 / 3)
