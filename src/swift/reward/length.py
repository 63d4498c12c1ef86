"""Length: what long answers cost. Lengths are tokens, the end token among them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field, model_validator

from swift.reward import Answer, Reward, rewards


@rewards.add("cosine")
class Cosine(Reward):
    """Right answers are worth more when short, wrong ones when long (arXiv:2502.03373).

    The cosine reward of section 4.2 there: from `*_short` at length 0 to `*_long` at `max_length`
    along half a cosine; `exceeded` from `max_length` on. Right is what `accuracy` calls so.
    """

    max_length: int = Field(ge=1)
    """Tokens at which an answer counts as cut."""

    right_short: float = 2.0
    """A right answer of no length."""

    right_long: float = 1.0
    """A right answer of all but `max_length` tokens."""

    wrong_short: float = -10.0
    """A wrong answer of no length."""

    wrong_long: float = 0.0
    """A wrong answer of all but `max_length` tokens."""

    exceeded: float = -10.0
    """An answer of `max_length` tokens, right or wrong."""

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return the reward of each answer's length; None where `accuracy` does not apply."""
        from swift.reward.accuracy import Accuracy  # members do not import each other on the way in

        right = await Accuracy().judge(answers)
        return [
            None if r is None else self._of(len(a.ids), r == 1)
            for a, r in zip(answers, right, strict=True)
        ]

    def _of(self, length: int, right: bool) -> float:
        if length >= self.max_length:
            return self.exceeded
        short = self.right_short if right else self.wrong_short
        long = self.right_long if right else self.wrong_long
        return long + (short - long) * (1 + math.cos(math.pi * length / self.max_length)) / 2


@rewards.add("overlong")
class Overlong(Reward):
    """The soft overlong punishment of DAPO (arXiv:2503.14476, equation 13).

    0 up to `max_length - cache` tokens, then down by a straight line to -1 at `max_length`, and -1
    beyond.
    """

    max_length: int = Field(ge=1)
    """Tokens from which on the punishment is whole."""

    cache: int = Field(ge=1)
    """Tokens before that over which it grows."""

    @model_validator(mode="after")
    def _inside(self) -> Overlong:
        if self.cache > self.max_length:
            raise ValueError(f"cache {self.cache} is more than max_length {self.max_length}")
        return self

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return a number from -1 to 0 for each."""
        free = self.max_length - self.cache
        return [max(-1.0, min(0.0, (free - len(a.ids)) / self.cache)) for a in answers]
