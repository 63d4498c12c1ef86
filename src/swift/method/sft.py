"""Supervised fine-tuning: answers become likelier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from swift.method import methods
from swift.method._likelihood import Likelihood

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Rows, Terms


@methods.add("sft")
class Sft(Likelihood):
    """L = -1/W * sum_t w_t log p(y_t | y_<t); W sums the weights w of the step's learnt tokens."""

    loss_on: Literal["answers", "last", "all"] = "answers"
    """Which tokens are learnt: all that the assistant says, what it says after the user has spoken
    last, or every token of a conversation. Of answers, a message's own `loss` leaves some out."""

    loss: Literal["nll", "dft"] = "nll"
    """What is minimised of a token: nll, -log p; or dft, -p log p, where the first p only weighs,
    so that tokens that the model finds unlikely pull less (equation 9 of arXiv:2508.05629)."""

    @property
    def supervise(self) -> Literal["answers", "last", "all"]:
        """What `loss_on` says."""
        return self.loss_on

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over N tokens, in nats."""
        if self.loss == "nll":
            return super().terms(out, rows)
        p_N = out.logp_N.detach().exp()
        return self._summed(-p_N * out.logp_N, out, rows, plain=False)
