"""Odds ratio preference optimisation (Hong et al., 2024, arXiv:2403.07691)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from swift.method import Method, methods
from swift.method._pairs import Pairs, chosen_nll, chosen_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Outputs, Rows, Terms


@methods.add("orpo")
class Orpo(Method):
    """Learn the chosen answer, and make its odds greater than the rejected one's; no reference.

    L = -1/N sum_t log p(y_t) over the N tokens of chosen answers
        - beta/P * sum_i log sigmoid(log odds(chosen) - log odds(rejected)) (eq. 6 and 7),
    with odds = p / (1 - p), where log p is the mean over an answer's tokens.
    """

    wants: ClassVar[str] = "pairs"
    sides: ClassVar[tuple[str, ...]] = ("chosen", "rejected")

    beta: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio beside the likelihood (the paper's lambda)."""

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every pair weighs one, and every token of a chosen answer."""
        return {"pairs": rows.count / 2, "tokens": chosen_tokens(rows)}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over P pairs and over the tokens of their chosen answers."""
        from torch.nn.functional import logsigmoid

        from swift.seam.types import Terms

        mean = Pairs.of(out, rows).mean
        ratio_P = _log_odds(mean.chosen_P) - _log_odds(mean.rejected_P)
        won_P, nll = logsigmoid(ratio_P), chosen_nll(out, rows)
        count = len(ratio_P)
        return Terms(
            total={"pairs": -self.beta * won_P.sum(), "tokens": nll},
            metrics={
                **mean.told(self.beta, mean),
                "nll_loss": (nll.detach(), chosen_tokens(rows)),
                "log_odds_ratio": (won_P.detach().sum(), count),
                "log_odds_chosen": (ratio_P.detach().sum(), count),
            },
        )


def _log_odds(logp: Tensor) -> Tensor:
    """Return log p - log(1 - p), exact for p near 0 and near 1; a sure answer's stays finite."""
    import torch

    logp = logp.clamp(max=-torch.finfo(logp.dtype).tiny)
    return logp - torch.where(logp > -0.6931, (-torch.expm1(logp)).log(), torch.log1p(-logp.exp()))
