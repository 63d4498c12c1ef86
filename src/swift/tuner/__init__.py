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

    from swift.model.facts import ModelFacts
    from swift.model.weights import Weights


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


tuners: Registry[Tuner] = Registry("tuner", "swift.tuner", later=("dora", "reft", "adapter"))


def merged(base: Weights, adapter: Path, facts: ModelFacts, model: nn.Module) -> Weights:
    """Return the weights of `base` with a PEFT adapter added in, each as it is read.

    Plain LoRA (any rank and scale) takes no more memory than one weight; other kinds of adapters
    are merged by PEFT, with the whole model in this process.

    Args:
        base: The weights that the adapter was trained on.
        adapter: A folder with adapter_config.json.
        facts: The base model's.
        model: Its skeleton, which says what shape each weight has.

    Raises:
        PlanError: The adapter is broken, belongs to another model, or unties tied weights.
    """
    from swift.tuner._merge import merged as add

    return add(base, adapter, facts, model)


def changed(adapter: Path) -> frozenset[str] | None:
    """Return the names of the weights that `merged` changes; None where they may be any.

    Raises:
        PlanError: The adapter is broken.
    """
    from swift.tuner._merge import changed as names

    return names(adapter)


def applied(model: nn.Module, adapter: Path, *, trainable: bool = False) -> nn.Module:
    """Return `model` with a PEFT adapter of any kind computed beside its weights.

    With `trainable` the adapter may be trained on, else all of it is frozen.
    """
    from swift.tuner._merge import applied as put

    return put(model, adapter, trainable)
