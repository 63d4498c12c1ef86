"""torch FSDP2 (`fully_shard`) behind Placement."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from swift.parallel._ddp import DataRanks
from swift.parallel._layers import layers_of
from swift.parallel._torch import TorchPlacement


class FsdpPlacement(DataRanks, TorchPlacement):
    """One unit a layer, the rest (embedding, last norm, head) in the root."""

    def _shard(self) -> None:
        self.meet()
        mesh = init_device_mesh(self._site.device.split(":")[0], (self.data_world,))
        for layer in layers_of(self.bare):
            fully_shard(layer, mesh=mesh)
        fully_shard(self.bare, mesh=mesh)
        for module in self.bare.modules():
            if isinstance(module, FSDPModule):
                # Sums, not means. Neither call is recursive, and on gloo the divide factor alone
                # raises: "Cannot use ReduceOp.PREMUL_SUM with Gloo" (torch 2.13).
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def _wrap(self) -> nn.Module:
        return self.bare

    def _sum_shards(self, value: Tensor) -> Tensor:
        dist.all_reduce(value)
        return value
