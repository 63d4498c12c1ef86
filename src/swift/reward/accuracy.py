"""Accuracy: whether an answer comes to the row's solution."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar, Literal

from pydantic import Field

from swift.core.errors import Problem
from swift.reward import Answer, Reward, rewards
from swift.reward._equal import equal
from swift.reward._final import last_number, marked, spoken

_PACKAGE = "math_verify"


@rewards.add("accuracy")
class Accuracy(Reward):
    r"""1 where the answer comes to the solution, else 0; None where the row has no solution.

    What an answer comes to is its last mark after the thinking: \boxed{...}, <answer>...</answer>
    or a line after ####. Numbers are compared exactly, as fractions: 0.5, 1/2, \frac12 and 50% are
    the same; a unit that one side leaves out is no difference. What this cannot tell (algebra) is
    asked of math-verify in a process of its own, where it is installed.
    """

    checks: ClassVar[bool] = True

    unmarked: Literal["whole", "last_number", "wrong"] = "whole"
    """What an answer without a mark comes to: all that it says after thinking, the last number in
    it, or nothing."""

    tolerance: float = Field(default=0.0, ge=0, lt=1)
    """Share of a right number by which another may differ. 0: not at all."""

    algebra: Literal["auto", "math-verify", "none"] = "auto"
    """Who compares expressions with variables. auto: math-verify where it is installed; without
    it, only those that are written alike are the same."""

    opened: bool = False
    """Whether the template itself writes `<think>`, so that answers begin inside of it."""

    seconds: float = Field(default=3.0, gt=0)
    """Time that math-verify may take for one answer, which is wrong if it takes longer."""

    def problems(self) -> Sequence[Problem]:
        """Return that math-verify is not here, where it is asked for by name."""
        if self.algebra != "math-verify" or find_spec(_PACKAGE) is not None:
            return ()
        fix = "pip install 'swift-llm[math]', or leave `algebra` out"
        return (Problem(where="reward", what="math-verify is not installed here", fix=fix),)

    def notes(self) -> Sequence[str]:
        """Return who compares."""
        if self._asks():
            return (f"accuracy: expressions are compared by math-verify {version('math-verify')}",)
        return ("accuracy: numbers and texts are compared, expressions only as they are written",)

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return 1.0 or 0.0 for each; None where there is no solution."""
        found: list[float | None] = []
        open_: list[tuple[int, str, str]] = []
        for i, answer in enumerate(answers):
            truth = self._truth(answer)
            said = self._said(answer)
            same = False if said is None else equal(said, truth, self.tolerance)
            found.append(float(bool(same)) if truth else None)
            if same is None and truth and said is not None:
                open_.append((i, said, truth))
        if open_ and self._asks():
            from swift.reward._algebra import proved

            right = await proved([(said, truth) for _, said, truth in open_], self.seconds)
            for (i, _, _), same in zip(open_, right, strict=True):
                found[i] = float(same)
        return found

    def _asks(self) -> bool:
        return self.algebra != "none" and find_spec(_PACKAGE) is not None

    @staticmethod
    def _truth(answer: Answer) -> str:
        said = spoken(answer.solution) or answer.solution
        return (marked(said) or said).strip()

    def _said(self, answer: Answer) -> str | None:
        said = spoken(answer.text, opened=self.opened)
        if said is None:
            return None
        found = marked(said)
        if found is not None or self.unmarked == "wrong":
            return found
        return said if self.unmarked == "whole" else last_number(said)
