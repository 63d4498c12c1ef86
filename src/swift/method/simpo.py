"""Simple preference optimisation (Meng et al., 2024, arXiv:2405.14734)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from swift.method import methods
from swift.method._contrast import Contrast
from swift.method._pairs import Pairs

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Rows, Terms


@methods.add("simpo")
class Simpo(Contrast):
    """Make a token of the chosen answer likelier than one of the rejected by a margin.

    L = -1/P * sum_i log sigmoid(beta * [l(chosen) - l(rejected)] - gamma) (eq. 6), where l is the
    mean of log p over an answer's tokens; there is no reference.
    """

    beta: float = Field(default=2.0, gt=0)
    """What makes a reward of a mean log-probability."""

    gamma: float = Field(default=1.0, ge=0)
    """By how much the chosen answer's reward is to be greater."""

    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean negative log-likelihood of the chosen answers' tokens (CPO-SimPO)."""

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over P pairs; rows are P chosen, then P rejected."""
        mean = Pairs.of(out, rows).mean
        terms = self.compared(
            replace(mean, chosen_P=mean.chosen_P - self.gamma / self.beta), "sigmoid", out, rows
        )
        return replace(terms, metrics={**terms.metrics, **mean.told(self.beta, mean)})
