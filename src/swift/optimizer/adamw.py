"""AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101), torch's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from swift.optimizer import Optimizer, optimizers

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer


@optimizers.add("adamw")
class AdamW(Optimizer):
    """Adam with decay of the weights themselves; matrices decay, vectors do not."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running mean and of the running square, each in [0, 1)."""

    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the running square."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Share of a weight taken away per step, times the learning rate."""

    def build(self, groups: Sequence[dict[str, Any]], learning_rate: float) -> TorchOptimizer:
        """Return torch.optim.AdamW; fused, which is the fastest, where the device has that."""
        import torch

        from swift.seam.device import fused

        parts = [
            {"params": g["params"], "weight_decay": self.weight_decay if g["decay"] else 0.0}
            for g in groups
            if g["params"]
        ]
        own = parts[0]["params"][0].device.type if parts else "cpu"
        return torch.optim.AdamW(
            parts, lr=learning_rate, betas=self.betas, eps=self.eps, fused=fused(own) or None
        )
