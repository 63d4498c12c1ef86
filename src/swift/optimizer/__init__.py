"""The update rule, built by the placement after (or before) sharding, as its engine wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swift.core.registry import Registry
from swift.core.schema import Component

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer


class Optimizer(Component):
    """Options of an update rule, and how to build it."""

    def build(self, groups: Sequence[dict[str, Any]], learning_rate: float) -> TorchOptimizer:
        """Return a torch optimiser over `groups` (each {"params": [...], "decay": bool})."""
        raise NotImplementedError


optimizers: Registry[Optimizer] = Registry("optimizer", "swift.optimizer")
