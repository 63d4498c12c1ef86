"""What methods share that make given tokens likelier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from swift.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Need, Outputs, Rows, Terms


class Likelihood(Method):
    """L = -1/W * sum_t w_t [(1 - e) log p(y_t | y_<t) + e mean_v log p(v | y_<t)].

    W is the sum of the weights w of the supervised tokens of the whole step (each 1 where nothing
    is said), e is the label smoothing and v runs over the vocabulary.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share e of each label that is spread evenly over the vocabulary (section 7 of
    arXiv:1512.00567), so that no token is learnt to be certain."""

    token_weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """What some tokens weigh in the mean of the loss, all others 1: one token, or all from one to
    the next other, both included: {"<tool_call>": 2, "<think>...</think>": 0.1}. Of several rules
    about a token the last one counts."""

    @property
    def weighed(self) -> Mapping[str, float]:
        """The weights of tokens."""
        return self.token_weights

    @property
    def needs(self) -> frozenset[Need]:
        """Smoothing asks for the mean over the vocabulary."""
        return frozenset({"logp", "mean_logp"} if self.label_smoothing else {"logp"})

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every supervised token weighs one, where no rule says another weight."""
        weight_N = rows.columns.get("weight_N")
        return {"tokens": rows.tokens if weight_N is None else float(weight_N.sum())}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over N tokens, in nats."""
        loss_N = -out.logp_N
        if self.label_smoothing and out.mean_logp_N is not None:
            e = self.label_smoothing
            loss_N = (1 - e) * loss_N - e * out.mean_logp_N
        return self._summed(loss_N, out, rows, plain=not self.label_smoothing)

    def _summed(self, loss_N: Tensor, out: Outputs, rows: Rows, *, plain: bool) -> Terms:
        """Return the sum of what tokens lose, each with its weight; `plain`: that is -log p."""
        from swift.seam.types import Terms

        weight_N = rows.columns.get("weight_N")
        total = loss_N.sum() if weight_N is None else (weight_N * loss_N).sum()
        if plain and weight_N is None:
            return Terms(total={"tokens": total})
        nll = (-out.logp_N.detach().sum(), rows.tokens)
        return Terms(total={"tokens": total}, metrics={"nll_loss": nll})
