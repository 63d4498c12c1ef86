"""Scores: how right an answer is, as a number from 0 to 1. Functions of answer and truth alone.

Add one: a file here with a frozen class under `@scores.add("name")`.
"""

from __future__ import annotations

from swift.core.registry import Registry
from swift.core.schema import Component


class Score(Component):
    """Options of a score."""

    def judge(self, answer: str, truth: str) -> float:
        """Return how right `answer` is, from 0 (wrong) to 1 (right).

        Raises:
            DataError: `truth` is nothing that answers can be held against.
        """
        raise NotImplementedError


scores: Registry[Score] = Registry("score", "swift.score")
