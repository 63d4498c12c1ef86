"""A reward model that was trained before: its score of question and answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

from pydantic import Field, PrivateAttr

from swift.core.errors import Problem, UserError
from swift.reward import Answer, Reward, rewards

Scorer: TypeAlias = Callable[[Sequence[Answer]], Sequence[float | None]]
"""One score for each answer, None where the model cannot read it."""


@rewards.add("model")
class RewardModel(Reward):
    """The score that a reward model gives the answer, as `swift rm` trains one.

    It is the head's number at the last token of the conversation, written by the reward model's
    own template, as in its training. A conversation longer than it reads has no score.
    """

    id: str = Field(min_length=1)
    """Name, folder or run of the reward model."""

    _scorer: Scorer | None = PrivateAttr(default=None)

    def opened(self, scorer: Scorer) -> Self:
        """Return it with the model that gives the scores; the run opens it, on its device."""
        made = self.model_copy()
        made._scorer = scorer
        return made

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return the scores.

        Raises:
            UserError: Nobody has opened the model.
        """
        if self._scorer is None:
            what = f"the reward model {self.id} is not opened"
            raise UserError(Problem(where="reward", what=what, fix="judge with it in a training"))
        return self._scorer(answers)
