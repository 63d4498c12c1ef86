"""The loss: what is minimised. A method never sees the model, the mesh or the optimiser.

Add one: a file here with a frozen class under `@methods.add("name")`; its word is also a verb.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from swift.core.registry import Registry
from swift.core.schema import Component

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Need, Outputs, Pass, Rows, Terms, View


class Method(Component):
    """A pure function of log-probabilities, with its options as fields."""

    wants: ClassVar[str] = "answers"
    """What a row of data must hold: one of `swift.dataset.formats.wanted.WISHES`."""

    sides: ClassVar[tuple[str, ...]] = ("chosen",)
    """The sequences a Sample gives: ("chosen",), or ("chosen", "rejected") for a pair. A
    micro-batch holds all chosen rows first, then all rejected ones, in the same order."""

    aside: ClassVar[int] = 0
    """How many of the last sides only passes see: they are no rows of a micro-batch but of its
    `aside`."""

    columns: ClassVar[tuple[str, ...]] = ()
    """Fields of a Sample that come along as numbers, one a row, under "<field>_B": "margin",
    "label" (1 or 0); where a sample has none, not a number."""

    scope: ClassVar[Literal["step", "rollout"]] = "step"
    """How long constants hold: one optimiser step, or a whole rollout."""

    task: ClassVar[str] = "chat"
    """The task where none is said: see `Recipe.task`."""

    @property
    def weighed(self) -> Mapping[str, float]:
        """Weights of tokens as labels, by their texts: see `Likelihood.token_weights`."""
        return {}

    @property
    def alike(self) -> int:
        """How many sequences begin with the same words: those of an item, or of a question."""
        return len(self.sides) - self.aside

    @property
    def heat(self) -> float:
        """What logits are divided by before they become log-probabilities."""
        return 1.0

    @property
    def needs(self) -> frozenset[Need]:
        """What the forward with gradient gives per supervised token."""
        return frozenset({"logp"})

    @property
    def supervise(self) -> Literal["answers", "last", "all"]:
        """Which tokens carry the loss: what the assistant says, what it says last, or all."""
        return "answers"

    @property
    def passes(self) -> Mapping[str, Pass]:
        """Forwards without gradient wanted before the step, by name."""
        return {}

    def weight(self, rows: Rows) -> dict[str, float]:
        """Return what these rows add to the divisor of each part; known before any forward."""
        raise NotImplementedError

    def constants(self, view: View) -> list[dict[str, Tensor]]:
        """Return columns to merge into each micro-batch's rows, computed over the whole step.

        By default: the passes' log-probabilities, under "<pass>_logp_N". What a fixed pass gives
        is in the rows already.
        """
        passes = {name for name, wanted in self.passes.items() if not wanted.fixed}
        return [{f"{name}_logp_N": outs[name].logp_N for name in passes} for outs in view.outs]

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Return sums over this micro-batch; must accept a micro-batch with no row."""
        raise NotImplementedError


methods: Registry[Method] = Registry("method", "swift.method", later=("ppo",))
