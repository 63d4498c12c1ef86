"""Pairs compared without a reference: what CPO and SimPO share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from swift.method import Method
from swift.method._pairs import Pairs, chosen_nll, chosen_tokens
from swift.method._preferences import LOSSES

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Rows, Terms


class Contrast(Method):
    """Compares what the policy itself says of two answers."""

    wants: ClassVar[str] = "pairs"
    sides: ClassVar[tuple[str, ...]] = ("chosen", "rejected")

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs taken to be labelled the wrong way round."""

    beta: float = Field(default=0.1, gt=0)
    """What makes a reward of a log-probability."""

    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean negative log-likelihood of the chosen answers' tokens."""

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every pair weighs one, and every token of a chosen answer."""
        tokens = {"tokens": chosen_tokens(rows)} if self.sft_weight else {}
        return {"pairs": rows.count / 2, **tokens}

    def compared(self, pairs: Pairs, loss: str, out: Outputs, rows: Rows) -> Terms:
        """Return the terms of pairs whose rewards are beta * log p."""
        from swift.seam.types import Terms

        value = LOSSES[loss](pairs, self.beta, self.label_smoothing).sum()
        total, metrics = {"pairs": value}, pairs.told(self.beta, Pairs.of(out, rows))
        if self.sft_weight:
            nll = chosen_nll(out, rows)
            total["tokens"] = self.sft_weight * nll
            metrics = {**metrics, "nll_loss": (nll.detach(), chosen_tokens(rows))}
        return Terms(total=total, metrics=metrics)
