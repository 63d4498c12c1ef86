"""Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from swift.method import Method, methods

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Pass, Rows, Terms


@methods.add("dpo")
class Dpo(Method):
    """Make the chosen answer likelier than the rejected one, relative to a reference.

    L = -1/P * sum_i log sigmoid(beta * m_i) (eq. 7), with the margin
    m = [log p(chosen) - log r(chosen)] - [log p(rejected) - log r(rejected)].
    P counts the pairs of the whole step; an unmoved policy pays log 2 a pair.
    """

    wants: ClassVar[str] = "pairs"
    sides: ClassVar[tuple[str, ...]] = ("chosen", "rejected")

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to the reference (1 / temperature of the margin)."""

    reference: str = Field(default="auto", min_length=1)
    """Whose log-probabilities are the reference: `adapters_off`, the policy with its adapters
    switched off; `model`, a second, frozen copy of the base model; or the name of another model.
    auto: adapters_off when the tuner has adapters, else model."""

    @property
    def passes(self) -> Mapping[str, Pass]:
        """One forward of the reference a step."""
        from swift.seam.types import Pass

        return {"reference": Pass(role="reference", fixed=True)}

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every pair weighs one."""
        return {"pairs": rows.count / 2}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over P pairs of -log sigmoid(beta * margin); rows are P chosen, then P rejected."""
        from torch.nn.functional import logsigmoid

        from swift.seam.types import Terms

        moved_B = rows.per_row(out.logp_N) - rows.columns["reference_logp_B"]
        chosen_P, rejected_P = moved_B.chunk(2) if rows.count else (moved_B, moved_B)
        margin_P = self.beta * (chosen_P - rejected_P)
        pairs = rows.count / 2
        return Terms(
            total={"pairs": -logsigmoid(margin_P).sum()},
            metrics={
                "rewards/margins": (margin_P.detach().sum(), pairs),
                "rewards/accuracies": ((margin_P.detach() > 0).sum(), pairs),
                "rewards/chosen": (self.beta * chosen_P.detach().sum(), pairs),
                "rewards/rejected": (self.beta * rejected_P.detach().sum(), pairs),
            },
        )
