"""Which weights are trained, and how they are saved in the ecosystem's own layout.

A tuner works on a model whose weights may not be there yet (meta device): it adds its modules and
marks what is trained; the placement fills in the numbers afterwards, shard by shard.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar

from swift.core.registry import Registry
from swift.core.schema import Component

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Generator, Tensor, nn


class Tuner(Component):
    """Options of a way of tuning, with its verbs."""

    adapters: ClassVar[bool] = False
    """Whether it adds modules that can be switched off, which leaves the base model."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Return `model` with the tuner's modules in it; only what is trained requires grad."""
        raise NotImplementedError

    def initial(self, name: str, like: Tensor, random: Generator) -> Tensor | None:
        """Return the first value of an added weight (whole, on CPU); None for a base weight.

        `random` depends on the seed and the name alone, so that every placement starts equal.
        """
        return None

    def canonical(self, name: str) -> str:
        """Return the name that the ecosystem's files use for the model's parameter `name`."""
        return name

    def off(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within it, `model` computes as its base does."""
        return nullcontext()

    def save(
        self, weights: Iterable[tuple[str, Tensor]], model: nn.Module, folder: Path, base: str
    ) -> None:
        """Write `weights` (canonical names, whole tensors) so that PEFT and transformers open it.

        Args:
            weights: The trained weights alone for adapters, all weights otherwise.
            model: Where configurations are read from; its tensors are not touched.
            folder: Exists and is empty.
            base: The folder of the base model.
        """
        raise NotImplementedError


tuners: Registry[Tuner] = Registry("tuner", "swift.tuner")
