"""Tensor parallel (torch DTensor): each rank holds some columns or rows of every matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from swift.parallel import Placement, Site, Source, Strategy, strategies

if TYPE_CHECKING:
    from swift.optimizer import Optimizer


@strategies.add("tp")
class Tp(Strategy):
    """All ranks read the same rows; sums over ranks happen inside each layer."""

    same_rows: ClassVar[bool] = True
    cuts: ClassVar[bool] = True

    def place(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> Placement:
        """Return the model under `parallelize_module`, planned by transformers' own table."""
        from swift.parallel._tp import TpPlacement

        return TpPlacement(source, role, optimizer, rate, site)
