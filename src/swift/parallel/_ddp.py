"""torch DistributedDataParallel behind Placement."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from swift.parallel._torch import TorchPlacement


class DataRanks:
    """Communication of placements whose every rank reads its own rows."""

    data_rank: int
    data_world: int

    def meet(self) -> None:
        """Learn this rank's place."""
        self.data_rank, self.data_world = dist.get_rank(), dist.get_world_size()

    def reduce(self, tensor: Tensor) -> Tensor:
        """Sum over data ranks."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> tuple[Tensor, int]:
        """Concatenate over data ranks; sizes along dim 0 may differ."""
        import torch

        size = tensor.new_tensor([tensor.shape[0]], dtype=torch.int64)
        sizes = [size.clone() for _ in range(self.data_world)]
        dist.all_gather(sizes, size)
        counts = [int(s) for s in sizes]
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: tensor.shape[0]] = tensor
        parts = [padded.clone() for _ in counts]
        dist.all_gather(parts, padded)
        whole = torch.cat([p[:n] for p, n in zip(parts, counts, strict=True)])
        return whole, sum(counts[: self.data_rank])


class SameRows:
    """Communication of placements whose ranks share out one copy of the model."""

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return the mean: their sums are equal, but a signal may have reached one alone."""
        total = tensor.clone()
        dist.all_reduce(total)
        mean: Tensor = total / dist.get_world_size()
        return mean.to(tensor.dtype)


class DdpPlacement(DataRanks, TorchPlacement):
    """Every rank holds the whole model."""

    def _wrap(self) -> nn.Module:
        self.meet()
        if not any(p.requires_grad for p in self.bare.parameters()):
            return self.bare  # DDP refuses a frozen model, which has no gradient to sum
        self.factor = float(self.data_world)  # DDP divides by the number of ranks
        return DistributedDataParallel(self.bare, gradient_as_bucket_view=True)

    def _last_only(self, last: bool) -> AbstractContextManager[None]:
        no_sync: Callable[[], AbstractContextManager[None]] | None
        no_sync = getattr(self.module, "no_sync", None)
        return nullcontext() if last or no_sync is None else no_sync()
