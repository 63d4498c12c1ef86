"""Pre-training, from the start or continued: every token becomes likelier."""

from __future__ import annotations

from typing import ClassVar, Literal

from swift.method import methods
from swift.method._likelihood import Likelihood


@methods.add("pt")
class Pt(Likelihood):
    """L = -1/W * sum_t log p(y_t | y_<t) over every token of plain text.

    With `task: chat` over every token of conversations as the template writes them, whatever a
    message's own `loss` says.
    """

    task: ClassVar[str] = "text"

    @property
    def supervise(self) -> Literal["all"]:
        """Every token."""
        return "all"
