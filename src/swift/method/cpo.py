"""Contrastive preference optimisation (Xu et al., 2024, arXiv:2401.08417)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from swift.method import methods
from swift.method._contrast import Contrast
from swift.method._pairs import Pairs

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Rows, Terms


@methods.add("cpo")
class Cpo(Contrast):
    """Make the chosen answer likelier than the rejected one, and learn it; no reference.

    L = -1/P * sum_i log sigmoid(beta * [log p(chosen) - log p(rejected)])
        - sft_weight/N * sum_t log p(y_t) over the N tokens of chosen answers (eq. 3 and 4).
    """

    loss: Literal["sigmoid", "hinge"] = "sigmoid"
    """What is minimised of a pair: as for `dpo`."""

    sft_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean negative log-likelihood of the chosen answers' tokens."""

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over P pairs; rows are P chosen, then P rejected."""
        return self.compared(Pairs.of(out, rows), self.loss, out, rows)
