"""Data parallel: every rank holds the whole model and reads its own rows (torch DDP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift.parallel import Placement, Site, Source, Strategy, strategies

if TYPE_CHECKING:
    from swift.optimizer import Optimizer


@strategies.add("ddp")
class Ddp(Strategy):
    """Gradients are summed over ranks while the backward pass still runs."""

    def place(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> Placement:
        """Return the model under DistributedDataParallel."""
        from swift.parallel._ddp import DdpPlacement

        return DdpPlacement(source, role, optimizer, rate, site)
