"""Supervised fine-tuning: the mean negative log-likelihood of the supervised tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from swift.method import Method, methods

if TYPE_CHECKING:
    from swift.seam.types import Outputs, Rows, Terms


@methods.add("sft")
class Sft(Method):
    """L = -1/W * sum_t log p(y_t | y_<t); W counts the supervised tokens of the whole step."""

    all_tokens: bool = False
    """Train on every token of a conversation, not only on what the assistant says."""

    @property
    def supervise(self) -> Literal["answers", "all"]:
        """All tokens, or what the assistant says."""
        return "all" if self.all_tokens else "answers"

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every supervised token weighs one."""
        return {"tokens": rows.tokens}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum of -log p over N tokens, in nats."""
        from swift.seam.types import Terms

        return Terms(total={"tokens": -out.logp_N.sum()})
