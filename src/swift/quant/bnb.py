"""bitsandbytes: blocks of 64 weights in 4 bits (Dettmers et al., 2023, arXiv:2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from swift.core.errors import MachineError, Problem
from swift.quant import Quant, quants

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@quants.add("bnb")
class Bnb(Quant):
    """Frozen weights as one of 16 values times the largest of their block; computed in full.

    A weight takes 4 bits and its share of the block's scale: 0.13 bit with `double`, else 0.5.
    Layers whose number of inputs is no multiple of 64 stay as they are, as the output head does.
    """

    bits: Literal[4] = 4
    """Bits of a weight."""

    double: bool = True
    """Keep the scales of blocks in 8 bits, in blocks of 256 themselves."""

    type: Literal["nf4", "fp4"] = "nf4"
    """The 16 values: quantiles of the normal distribution, or a float of 4 bits."""

    def missing(self) -> Problem | None:
        """Return a problem if bitsandbytes is not installed."""
        if find_spec("bitsandbytes") is not None:
            return None
        return Problem(
            where="quant",
            what="`quant: bnb` needs bitsandbytes, which is not installed",
            fix='pip install "swift-llm[bnb]"',
        )

    def install(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Exchange the linear layers for bitsandbytes' Linear4bit; weights stay on meta."""
        self._check()
        from swift.quant._bnb import install

        install(model, self, dtype)

    def packed(self, like: Tensor, value: Tensor) -> Tensor:
        """Return a Params4bit for a Params4bit, else `value`."""
        from swift.quant._bnb import packed

        return packed(like, value)

    def whole(self, weight: Tensor) -> Tensor:
        """Return a Params4bit unpacked, anything else as it is."""
        from swift.quant._bnb import whole

        return whole(weight)

    def numel(self, weight: Tensor) -> int:
        """Return how many numbers `weight` stands for: two a byte in a Params4bit."""
        from swift.quant._bnb import numel

        return numel(weight)

    def live(self, model: nn.Module) -> int:
        """Pack the frozen linear layers of a model in use; see `quantise_live`."""
        self._check()
        from swift.quant._bnb import live

        return live(model, self)

    def _check(self) -> None:
        problem = self.missing()
        if problem:
            raise MachineError(problem)
