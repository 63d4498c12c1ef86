"""Kahneman-Tversky optimisation (Ethayarajh et al., 2024, arXiv:2402.01306)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from swift.method import methods
from swift.method._referred import Referred

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Metrics, Outputs, Pass, Rows, Terms, View


@methods.add("kto")
class Kto(Referred):
    """Make good answers likelier and bad ones less likely, each by itself, beside a baseline.

    L = 1/B * sum_i w_i [1 - sigmoid(+-beta * (log p(y_i) - log r(y_i) - z))] (eq. 7 and 8): + and
    desirable_weight for good answers, - and undesirable_weight for bad ones; B counts the answers
    of the whole step. The baseline z = max(0, mean_j [log p(y'_j) - log r(y'_j)]) is over answers
    y'_j to other questions, of all ranks and micro-batches of the step, and has no gradient.
    """

    wants: ClassVar[str] = "labels"
    sides: ClassVar[tuple[str, ...]] = ("answer", "other")
    aside: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("label",)

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to the reference."""

    loss: Literal["kto", "apo_zero"] = "kto"
    """kto: as above. apo_zero: without the baseline (arXiv:2408.06266)."""

    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of good answers. Good ones to bad ones, weights times numbers, should be 1 to 4/3."""

    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of bad answers."""

    @property
    def passes(self) -> Mapping[str, Pass]:
        """The reference's answers; for the baseline both models' to other questions."""
        from swift.seam.types import Pass

        found = {"reference": Pass(role="reference", fixed=True)}
        if self.loss == "apo_zero":
            return found
        return {
            **found,
            "other": Pass(role="policy", rows="aside"),
            "other_reference": Pass(role="reference", rows="aside", fixed=True),
        }

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every answer weighs one, good or bad."""
        return {"answers": float(rows.count)}

    def constants(self, view: View) -> list[dict[str, Tensor]]:
        """The baseline of the step, which is one number, in each row."""
        import torch

        if self.loss == "apo_zero":
            return [{} for _ in view.rows]
        sums = []
        for rows, outs in zip(view.aside, view.outs, strict=True):
            logp_N = outs["other"].logp_N
            moved_B = rows.per_row(logp_N) - rows.beside(logp_N).columns["reference_logp_B"]
            sums.append(torch.stack([moved_B.sum(), moved_B.new_tensor(rows.count)]))
        total, count = view.sum(torch.stack(sums).sum(0))
        baseline = (total / count.clamp(min=1)).clamp(min=0)
        return [{"baseline_B": baseline.expand(rows.count)} for rows in view.rows]

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over B answers."""
        from swift.seam.types import Terms

        logp_B = rows.per_row(out.logp_N)
        moved_B = logp_B - rows.columns["reference_logp_B"]
        good_B = rows.columns["label_B"] > 0.5
        sign_B = good_B.to(moved_B) * 2 - 1
        baseline_B = rows.columns["baseline_B"] if self.loss == "kto" else 0.0
        value_B = 1 - (sign_B * self.beta * (moved_B - baseline_B)).sigmoid()
        weight_B = self.desirable_weight * good_B + self.undesirable_weight * ~good_B
        told = dict(_told(self.beta * moved_B.detach(), logp_B.detach(), good_B))
        if self.loss == "kto":
            told["kl"] = (rows.columns["baseline_B"].sum(), rows.count)
        return Terms(total={"answers": (weight_B * value_B).sum()}, metrics=told)


def _told(reward_B: Tensor, logp_B: Tensor, good_B: Tensor) -> Metrics:
    told = {}
    for side, of_B in (("chosen", good_B), ("rejected", ~good_B)):
        told[f"rewards/{side}"] = ((reward_B * of_B).sum(), of_B.sum())
        told[f"logps/{side}"] = ((logp_B * of_B).sum(), of_B.sum())
    return told
