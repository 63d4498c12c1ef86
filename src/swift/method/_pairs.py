"""Pairs of answers out of a micro-batch: what every method that compares two shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Metrics, Outputs, Rows


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """P pairs: sums over each answer's tokens."""

    chosen_P: Tensor
    """log p of each chosen answer, in nats."""

    rejected_P: Tensor
    chosen_tokens_P: Tensor
    """How many tokens each chosen answer has, at least one."""

    rejected_tokens_P: Tensor

    @classmethod
    def of(cls, out: Outputs, rows: Rows) -> Pairs:
        """Return the pairs of rows that are P chosen, then P rejected ones."""
        logp_B = rows.per_row(out.logp_N)
        tokens_B = rows.per_row(out.logp_N.detach().new_ones(rows.tokens)).clamp(min=1)
        chosen_P, rejected_P = halves(logp_B)
        chosen_tokens_P, rejected_tokens_P = halves(tokens_B)
        return cls(
            chosen_P=chosen_P,
            rejected_P=rejected_P,
            chosen_tokens_P=chosen_tokens_P,
            rejected_tokens_P=rejected_tokens_P,
        )

    @property
    def mean(self) -> Pairs:
        """The same with log p a token instead of an answer."""
        return Pairs(
            chosen_P=self.chosen_P / self.chosen_tokens_P,
            rejected_P=self.rejected_P / self.rejected_tokens_P,
            chosen_tokens_P=self.chosen_tokens_P,
            rejected_tokens_P=self.rejected_tokens_P,
        )

    def less(self, reference_B: Tensor) -> Pairs:
        """Return the pairs with a reference's sums taken off."""
        chosen_P, rejected_P = halves(reference_B)
        return Pairs(
            chosen_P=self.chosen_P - chosen_P,
            rejected_P=self.rejected_P - rejected_P,
            chosen_tokens_P=self.chosen_tokens_P,
            rejected_tokens_P=self.rejected_tokens_P,
        )

    def told(self, beta: float, logps: Pairs) -> Metrics:
        """Return the metrics of rewards beta * log p, and of what the policy itself says.

        Args:
            beta: What makes rewards of log-probabilities.
            logps: The policy's own log-probabilities.
        """
        chosen_P, rejected_P = beta * self.chosen_P.detach(), beta * self.rejected_P.detach()
        count = len(chosen_P)
        return {
            "rewards/chosen": (chosen_P.sum(), count),
            "rewards/rejected": (rejected_P.sum(), count),
            "rewards/margins": ((chosen_P - rejected_P).sum(), count),
            "rewards/accuracies": ((chosen_P > rejected_P).sum(), count),
            "logps/chosen": (logps.chosen_P.detach().sum(), count),
            "logps/rejected": (logps.rejected_P.detach().sum(), count),
        }


def halves(values_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the second half: of chosen and of rejected rows."""
    half = len(values_B) // 2
    return values_B[:half], values_B[half:]


def chosen_tokens(rows: Rows) -> float:
    """Return how many supervised tokens the chosen answers of these rows have."""
    return float((rows.row_N < rows.count // 2).sum())


def chosen_nll(out: Outputs, rows: Rows) -> Tensor:
    """Return the sum over the chosen answers' tokens of -log p, in nats."""
    chosen_N = (rows.row_N < rows.count // 2).to(out.logp_N.device)
    return -(out.logp_N * chosen_N).sum()
