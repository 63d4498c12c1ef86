"""Placements: the only code that knows the engine underneath a model.

Add one: a file here with a frozen class under `@strategies.add("name")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from swift.core.registry import Registry
from swift.core.schema import Component

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from swift.optimizer import Optimizer
    from swift.seam.logprobs import LogProbs
    from swift.seam.scores import Scores
    from swift.seam.types import Batch, Metrics, Need, Outputs

    TermsFn = Callable[[int, Outputs], tuple[Tensor, Metrics]]
    """(number of the micro-batch, its outputs) -> (scalar to differentiate, metrics)."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where this process stands and computes."""

    device: str = "cpu"
    """torch's device of this process: the `address` that seam/device.py gives."""

    dtype: str = "float32"
    """What the matrices are multiplied in; half types run under autocast."""

    rank: int = 0
    world: int = 1

    neftune: float | None = None
    """Size of the noise on what a trained model reads: see `swift.seam.noise`."""


class Source(Protocol):
    """A model to be placed: its skeleton, its numbers, its names."""

    def build(self, role: str) -> LogProbs | Scores:
        """Return the module with the tuner attached (policy only); parameters may be on meta."""

    def value(self, name: str, like: Tensor, part: Sequence[slice] | None) -> Tensor:
        """Return `part` of the first value of the model's parameter `name`, in its final dtype.

        A tensor that is a Parameter stays the one that it is when it is moved to its device.
        """

    def whole(self, weight: Tensor) -> Tensor:
        """Return a weight in its full shape, where the model keeps it packed."""

    def numel(self, weight: Tensor) -> int:
        """Return how many numbers `whole` gives."""

    def canonical(self, name: str) -> str:
        """Return the name that files use for the parameter `name`."""

    def off(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within it the policy computes as the base model."""


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """What one optimiser step did."""

    norm: float
    """L2 norm of the whole gradient before clipping, summed in float64 over all shards."""

    skipped: bool = False
    """The norm was not finite and nothing was updated."""

    scale: float = 1.0
    """The loss scale of float16 (1 otherwise)."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Global sums of one step, the same on every rank."""

    loss: float
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """name -> (sum, count)."""


class Piece(NamedTuple):
    """A part of a tensor that this rank keeps: enough for another world to put it together."""

    name: str
    tensor: Tensor
    shape: tuple[int, ...]
    """Shape of the whole."""
    offset: tuple[int, ...]
    """Where the part begins in the whole."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What really ran, measured on the placed module."""

    wrapper: str
    """The class that holds the model: LogProbs, DistributedDataParallel, FSDPLogProbs."""

    world: int
    data_world: int
    tensors: int
    """Parameters, tied ones once."""

    dtensors: int
    """How many of them are sharded DTensors."""

    numel: int
    """Weights of the whole model."""

    local_numel: int
    """Weights that lie on this rank."""

    trainable: int
    """Weights of the whole model that are trained."""


class Placement(Protocol):
    """A placed model with its optimiser (none for a frozen one)."""

    data_rank: int
    """Which share of the rows this rank reads; ranks that share a copy of the model read the same,
    and so each of them knows the shape of what another one sends it."""

    data_world: int
    """Ranks that read rows of their own."""

    def forward_backward(
        self, batches: Sequence[Batch], terms: TermsFn, needs: frozenset[Need]
    ) -> Sums:
        """Add to the gradients d(sum over data ranks and micro-batches of what `terms` gives).

        `terms` is called where the outputs are: on a pipeline's last stage alone.

        Returns:
            The same sums of losses and metrics on every rank.
        """

    def no_grad(self, batches: Sequence[Batch], role: str, needs: frozenset[Need]) -> list[Outputs]:
        """Return the outputs of this rank's rows as `role` sees them ("policy", "reference").

        Ranks that read the same rows all get them, also where one alone computes them.
        """

    def step(self, max_norm: float | None, rate: float) -> Stepped:
        """Clip, update with `rate` (in [0, 1]) times the learning rate, clear the gradients."""

    def reduce(self, tensor: Tensor) -> Tensor:
        """Sum over data ranks; all ranks get the same.

        Of ranks that read the same rows the mean counts, so that what one alone knows (a signal
        that reached it) is known to all.
        """

    def gather(self, tensor: Tensor) -> tuple[Tensor, int]:
        """Return (all data ranks' values concatenated along dim 0, where mine begin)."""

    def weights(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor]]:
        """Stream whole weights under their canonical names. Collective: every rank iterates."""

    def state(self) -> Iterable[Piece]:
        """Return this rank's share of trained weights, optimiser and loss scale.

        A share that is no box of its tensor (a flat range) is several pieces of one name.
        """

    def load(self, read: Callable[[str, tuple[int, ...], tuple[int, ...]], Tensor]) -> None:
        """Set all that `state` gives; `read(name, shape of the part, offset)` yields each part."""

    def train(self, mode: bool) -> None:
        """Switch dropout on or off."""

    def model(self) -> nn.Module:
        """Return the transformers (or PEFT) model, to read configurations and buffers from.

        Its parameters may be cut, or missing where another rank has them; rank 0's has every
        buffer that belongs into files.
        """

    def proof(self) -> Proof:
        """Return what really ran."""


class Strategy(Component):
    """A way to lay a model over processes."""

    same_rows: ClassVar[bool] = False
    """Whether all ranks read the same rows; else each reads its own."""

    cuts: ClassVar[bool] = False
    """Whether the ranks share out one copy of the weights; else each has its own."""

    def place(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> Placement:
        """Return `source`'s model in its place; the optimiser is built when the engine wants it.

        Args:
            source: The model to place.
            role: "policy" (trained), or a frozen one such as "reference".
            optimizer: None for a frozen model.
            rate: The peak learning rate.
            site: This process.
        """
        raise NotImplementedError


strategies: Registry[Strategy] = Registry("strategy", "swift.parallel")
