"""What methods share that make given tokens likelier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from swift.method import Method

if TYPE_CHECKING:
    from swift.seam.types import Need, Outputs, Rows, Terms


class Likelihood(Method):
    """L = -1/W * sum_t [(1 - e) log p(y_t | y_<t) + e mean_v log p(v | y_<t)].

    W counts the supervised tokens of the whole step, e is the label smoothing and v runs over the
    vocabulary.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share e of each label that is spread evenly over the vocabulary (section 7 of
    arXiv:1512.00567), so that no token is learnt to be certain."""

    @property
    def needs(self) -> frozenset[Need]:
        """Smoothing asks for the mean over the vocabulary."""
        return frozenset({"logp", "mean_logp"} if self.label_smoothing else {"logp"})

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every supervised token weighs one."""
        return {"tokens": rows.tokens}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over N tokens, in nats."""
        from swift.seam.types import Terms

        nll = -out.logp_N.sum()
        if not self.label_smoothing or out.mean_logp_N is None:
            return Terms(total={"tokens": nll})
        e = self.label_smoothing
        return Terms(
            total={"tokens": (1 - e) * nll - e * out.mean_logp_N.sum()},
            metrics={"nll_loss": (nll.detach(), rows.tokens)},
        )
