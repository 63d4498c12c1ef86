"""One process: the model as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift.parallel import Placement, Site, Source, Strategy, strategies

if TYPE_CHECKING:
    from swift.optimizer import Optimizer


@strategies.add("none")
class One(Strategy):
    """No sharding and no communication."""

    def place(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> Placement:
        """Return the model on `site.device`."""
        from swift.parallel._torch import TorchPlacement

        return TorchPlacement(source, role, optimizer, rate, site)
