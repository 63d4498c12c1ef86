"""Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290) and its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from swift.method import methods
from swift.method._pairs import Pairs, chosen_nll, chosen_tokens
from swift.method._preferences import LOSSES
from swift.method._referred import Referred

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Pass, Rows, Terms

Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "robust",
    "sppo",
    "exo",
    "nca",
    "bco",
    "apo_zero",
    "apo_down",
]


@methods.add("dpo")
class Dpo(Referred):
    """Make the chosen answer likelier than the rejected one, relative to a reference.

    L = -1/P * sum_i log sigmoid(beta * m_i) (eq. 7), with the margin
    m = [log p(chosen) - log r(chosen)] - [log p(rejected) - log r(rejected)].
    P counts the pairs of the whole step; an unmoved policy pays log 2 a pair.
    """

    wants: ClassVar[str] = "pairs"
    sides: ClassVar[tuple[str, ...]] = ("chosen", "rejected")

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to the reference (1 / temperature of the margin)."""

    loss: Loss | dict[Loss, Annotated[float, Field(gt=0)]] = "sigmoid"
    """What is minimised of a pair; or several, each with its weight. Equations and papers:
    `swift/method/_preferences.py`. sigmoid: DPO. sigmoid_norm: log-ratios a token. hinge. ipo.
    robust: for labels wrong at rate label_smoothing. sppo. exo. nca. bco. apo_zero. apo_down."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs taken to be labelled the wrong way round (sigmoid, sigmoid_norm, robust)."""

    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean negative log-likelihood of the chosen answers' tokens, beside the loss
    (RPO's alpha, arXiv:2404.19733)."""

    @property
    def passes(self) -> Mapping[str, Pass]:
        """One forward of the reference a step."""
        from swift.seam.types import Pass

        return {"reference": Pass(role="reference", fixed=True)}

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every pair weighs one, and every token of a chosen answer."""
        tokens = {"tokens": chosen_tokens(rows)} if self.sft_weight else {}
        return {"pairs": rows.count / 2, **tokens}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over P pairs; rows are P chosen, then P rejected."""
        from swift.seam.types import Terms

        pairs = Pairs.of(out, rows)
        moved = pairs.less(rows.columns["reference_logp_B"])
        weights = self.loss if isinstance(self.loss, dict) else {self.loss: 1.0}
        losses = [
            weight * LOSSES[name](moved, self.beta, self.label_smoothing).sum()
            for name, weight in weights.items()
        ]
        total, metrics = {"pairs": sum(losses[1:], losses[0])}, moved.told(self.beta, pairs)
        if self.sft_weight:
            nll = chosen_nll(out, rows)
            total["tokens"] = self.sft_weight * nll
            metrics = {**metrics, "nll_loss": (nll.detach(), chosen_tokens(rows))}
        return Terms(total=total, metrics=metrics)
