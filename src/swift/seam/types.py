"""The values that cross the seams: Batch, Rows, Outputs, Terms.

Shapes: B rows of a micro-batch, T positions, N supervised tokens of the micro-batch in row-major
order. Log-probabilities are in nats, float32 (float64 for float64 models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from torch import Tensor

IGNORE = -100
"""The label of a position that is not supervised."""

Need: TypeAlias = Literal["logp", "entropy", "mean_logp", "score"]
"""What a method wants per supervised token: log p(label); the entropy; the mean over the vocabulary
of log p; or, instead of all these, what a head of one number says there."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a method may know of a micro-batch: which token belongs to which row, and columns.

    `columns` holds data given with the rows, and the constants of the step; each tensor is
    per row ([B]) or per supervised token ([N]).
    """

    row_N: Tensor
    """int64: the row of each supervised token."""

    count: int
    """B, the number of rows (0 for a filler that keeps ranks in step)."""

    columns: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """N, the number of supervised tokens."""
        return int(self.row_N.shape[0])

    def beside(self, values_N: Tensor) -> Rows:
        """Return these rows with their columns where `values_N` lie, in numbers of its kind."""
        like = values_N.detach()
        return replace(self, columns={n: v.to(like) for n, v in self.columns.items()})

    def per_row(self, values_N: Tensor) -> Tensor:
        """Sum values of tokens into their rows: [N] -> [B]. Differentiable."""
        zeros_B = values_N.new_zeros(self.count)
        return zeros_B.index_add(0, self.row_N.to(values_N.device), values_N)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch: what the model's forward takes, and its labels, already shifted."""

    inputs: Mapping[str, Tensor]
    """`input_ids` [B, T] and whatever else the model's forward takes (pixels, positions, ...)."""

    labels_BT: Tensor
    """int64: the token that position t predicts, or IGNORE. Already shifted by one."""

    rows: Rows

    origins: Sequence[str] = ()
    """Where each row came from ("mine.jsonl:17"), for messages."""

    sizes: Sequence[int] = ()
    """The tokens of each row, padding not counted; none in a filler."""

    aside: Batch | None = None
    """Rows that only passes see, of the same items (KTO's mismatched answers)."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one pass of one model gives for a micro-batch."""

    logp_N: Tensor
    """log p(label) in nats at each supervised position; zeros where "score" is asked for."""

    entropy_N: Tensor | None = None
    """Entropy of the distribution there, in nats, when needed."""

    mean_logp_N: Tensor | None = None
    """Mean of log p over the vocabulary there, in nats, when needed."""

    score_N: Tensor | None = None
    """What a head of one number says there, when needed."""


Metrics: TypeAlias = Mapping[str, tuple[Tensor | float, Tensor | float]]
"""name -> (sum, count), both over this micro-batch; the loop reports sum / count of the step."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A method's answer for one micro-batch: sums, never means.

    `total` has one scalar per part ("tokens", "pairs"); the loop divides each, once, by the weight
    of that part in the whole step.
    """

    total: Mapping[str, Tensor]
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A forward without gradient that a method wants before the step, once an optimiser step."""

    role: str
    """Whose: "policy", "reference", "teacher"."""

    needs: frozenset[Need] = frozenset({"logp"})

    rows: Literal["main", "aside"] = "main"
    """Which rows of a micro-batch it reads: those that are trained, or `Batch.aside`."""

    fixed: bool = False
    """Whether its sums over a row stay what they are as long as the run goes: they may be computed
    once, and kept on disk. They are the column "<role>_logp_B" of the rows that it reads."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A whole step as `Method.constants` sees it, over all micro-batches of this rank.

    `sum` adds over data ranks; `gather` returns (all ranks' values concatenated, my offset).
    """

    rows: Sequence[Rows]
    outs: Sequence[Mapping[str, Outputs]]
    """Of each micro-batch what its passes gave, by their names."""

    aside: Sequence[Rows]
    """Of each micro-batch the rows that only passes see."""

    sum: Callable[[Tensor], Tensor]
    gather: Callable[[Tensor], tuple[Tensor, int]]
