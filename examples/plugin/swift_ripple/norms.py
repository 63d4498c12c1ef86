"""A tuner of its own: only the norms of a model are trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from swift.plugin import Tuner, tuners

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@tuners.add("norms")
class Norms(Tuner):
    """Only norms move; a checkpoint is a whole model."""

    biases: bool = True
    """Whether their biases move too."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Return `model`; the vectors of its norms alone require grad."""
        model.requires_grad_(False)
        for module in model.modules():
            if "Norm" in type(module).__name__:
                for name, weight in module.named_parameters(recurse=False):
                    weight.requires_grad_(self.biases or not name.endswith("bias"))
        return model

    def save(
        self, weights: Iterable[tuple[str, Tensor]], model: nn.Module, folder: Path, base: str
    ) -> None:
        """Write the model as transformers does."""
        # An nn.Module has no such method; every model of transformers has.
        model.save_pretrained(folder, state_dict=dict(weights))  # type: ignore[operator]
