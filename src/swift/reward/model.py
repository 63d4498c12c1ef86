"""A reward model that was trained before: its score of question and answer."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from swift.core.errors import Problem, UserError
from swift.reward import Answer, Reward, rewards


@rewards.add("model")
class RewardModel(Reward):
    """The score that a reward model gives the answer. It comes with a later version."""

    id: str = Field(min_length=1)
    """Name, folder or run folder of the reward model."""

    def problems(self) -> Sequence[Problem]:
        """Return that nothing opens reward models yet."""
        what = f"the reward `model` ({self.id}) does not open rm's checkpoints yet"
        fix = "write a function that asks the model, `./mine.py:score`, or use `judge`"
        return (Problem(where="reward", what=what, fix=fix),)

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Refuse.

        Raises:
            UserError: Always, for now.
        """
        raise UserError(self.problems())
