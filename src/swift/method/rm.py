"""A reward model of pairs (Stiennon et al., 2020, arXiv:2009.01325; Ouyang et al., 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from swift.method import Method, methods
from swift.method._pairs import halves

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Metrics, Need, Outputs, Rows, Terms


@methods.add("rm")
class Rm(Method):
    """Give the chosen answer a higher score than the rejected one: Bradley and Terry's model.

    L = -1/P * sum_i log sigmoid(s_chosen - s_rejected - margin) (eq. 1 of arXiv:2203.02155), where
    s is what a head of one number says at the last token. The margin is the row's `margin`, by
    which the chosen answer is better at least (arXiv:2307.09288, eq. 2); 0 where it has none.
    P counts the pairs of the whole step; a model that sees no difference pays log 2 a pair.
    """

    wants: ClassVar[str] = "pairs"
    sides: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    columns: ClassVar[tuple[str, ...]] = ("margin",)

    center_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean of (s_chosen + s_rejected)^2, which holds scores around zero
    (arXiv:2312.09244); 0.01 is usual. The loss alone knows differences only."""

    @property
    def needs(self) -> frozenset[Need]:
        """One number at the last token of each answer."""
        return frozenset({"score"})

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every pair weighs one."""
        return {"pairs": rows.count / 2}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over P pairs; rows are P chosen, then P rejected."""
        from torch.nn.functional import logsigmoid

        from swift.seam.types import Terms

        assert out.score_N is not None, "a score was asked for"
        chosen_P, rejected_P = halves(rows.per_row(out.score_N))
        margin_P, _ = halves(rows.columns["margin_B"].nan_to_num(nan=0.0))
        total = -logsigmoid(chosen_P - rejected_P - margin_P).sum()
        if self.center_weight:
            total = total + self.center_weight * (chosen_P + rejected_P).square().sum()
        return Terms(total={"pairs": total}, metrics=_told(chosen_P.detach(), rejected_P.detach()))


def _told(chosen_P: Tensor, rejected_P: Tensor) -> Metrics:
    """Return what is reported of scores: least and greatest are no sums, so they are not."""
    count = len(chosen_P)
    return {
        "accuracy": ((chosen_P > rejected_P).sum(), count),
        "margin": ((chosen_P - rejected_P).sum(), count),
        "mean_reward": ((chosen_P + rejected_P).sum(), 2 * count),
        "rewards/chosen": (chosen_P.sum(), count),
        "rewards/rejected": (rejected_P.sum(), count),
    }
