"""Freeze tuning: the last layers are trained, everything below stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from swift.tuner import Tuner, tuners

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@tuners.add("freeze")
class Freeze(Tuner):
    """Some weights move, the others stay as they are; a checkpoint is a whole model."""

    layers: int = Field(default=2, ge=0)
    """How many of the last layers are trained."""

    also: tuple[str, ...] = ()
    """Parts of names of other weights to train: [embed_tokens, lm_head, norm]."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Return `model`; the chosen weights alone require grad.

        Raises:
            UserError: Nothing is chosen, a name fits no weight, or the model has fewer layers.
        """
        from swift.tuner._whole import train_some

        return train_some(model, self.layers, self.also)

    def save(
        self, weights: Iterable[tuple[str, Tensor]], model: nn.Module, folder: Path, base: str
    ) -> None:
        """Write `model-*.safetensors`, `config.json` and `generation_config.json`."""
        from swift.tuner._whole import save_model

        save_model(weights, model, folder)
