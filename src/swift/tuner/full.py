"""Full tuning: every weight is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from swift.tuner import Tuner, tuners

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@tuners.add("full")
class Full(Tuner):
    """All weights move; a checkpoint is a whole model."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Return `model`; every floating-point weight requires grad."""
        return model.requires_grad_(True)

    def save(
        self, weights: Iterable[tuple[str, Tensor]], model: nn.Module, folder: Path, base: str
    ) -> None:
        """Write `model-*.safetensors`, `config.json` and `generation_config.json`."""
        from swift.tuner._whole import save_model

        save_model(weights, model, folder)
