"""Fully sharded data parallel (torch FSDP2): every rank holds a slice of each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from swift.parallel import Placement, Site, Source, Strategy, strategies

if TYPE_CHECKING:
    from swift.optimizer import Optimizer


@strategies.add("fsdp")
class Fsdp(Strategy):
    """A layer's weights are gathered when it computes and dropped afterwards."""

    cuts: ClassVar[bool] = True

    def place(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> Placement:
        """Return the model under `fully_shard`, one unit a layer."""
        from swift.parallel._fsdp import FsdpPlacement

        return FsdpPlacement(source, role, optimizer, rate, site)
