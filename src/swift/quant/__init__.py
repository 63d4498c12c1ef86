"""Ways to keep frozen weights in fewer bits.

A quant works on a model whose weights may not be there yet (meta device): it exchanges the layers,
and the placement packs the numbers one weight at a time, so that the whole model is never here in
full precision. Add one: a file here with a frozen class under `@quants.add("name")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift.core.registry import Registry
from swift.core.schema import Component

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from swift.core.errors import Problem


class Quant(Component):
    """Options of a packed number format, with its verbs."""

    def missing(self) -> Problem | None:
        """Return what this machine lacks for it, None if nothing."""
        return None

    def install(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Exchange the linear layers of `model` (all but the output head) for packed ones.

        The weights may lie on the meta device and stay there; `dtype` is what is computed in.

        Raises:
            MachineError: A package is missing.
            PlanError: No layer can be packed.
        """
        raise NotImplementedError

    def packed(self, like: Tensor, value: Tensor) -> Tensor:
        """Return `value` as what a parameter `like` of an installed model takes.

        A packed parameter gets a parameter that packs itself where it is moved (`.to(device)`, the
        CPU included); any other gets `value` itself.
        """
        raise NotImplementedError

    def whole(self, weight: Tensor) -> Tensor:
        """Return `weight` unpacked; one that is not packed as it is."""
        raise NotImplementedError

    def numel(self, weight: Tensor) -> int:
        """Return how many numbers `weight` stands for."""
        raise NotImplementedError

    def live(self, model: nn.Module) -> int:
        """Pack the frozen linear layers of a model in use, where they lie; return how many.

        Raises:
            MachineError: A package is missing.
            UserError: No linear layer is frozen.
        """
        raise NotImplementedError


quants: Registry[Quant] = Registry("quant", "swift.quant", later=("gptq", "awq", "hqq", "fp8"))


def quantise_live(model: nn.Module, quant: Quant) -> int:
    """Pack the frozen linear layers of a model in use, where they lie.

    The output head, embeddings and trained layers stay as they are. The base of a LoRA layer of
    PEFT is packed and the layer becomes PEFT's own kind for it, so that training, merging and
    saving go on. Whoever held a packed layer's old weight holds full precision still.

    Args:
        model: With its weights; adapters, if any, by PEFT.
        quant: The number format.

    Returns:
        How many layers were packed; 0 for a model that is packed already.

    Raises:
        MachineError: A package is missing.
        UserError: Nothing is packed and no linear layer is frozen.
    """
    return quant.live(model)
