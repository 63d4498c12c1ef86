"""DeepSpeed's ZeRO-3 behind Placement: weights, gradients and optimiser lie in flat shares.

A spike: it shows what the protocol must carry (Rajbhandari et al., 2020, arXiv:1910.02054).
DeepSpeed 0.19.8; it computes in float32 here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING, Any

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import sys

import deepspeed  # type: ignore[import-not-found,unused-ignore]
import deepspeed.comm.torch  # type: ignore[import-not-found,unused-ignore]
import torch
from torch import Tensor, nn

from swift.parallel import Piece, Proof, Stepped, Sums
from swift.parallel._ddp import DataRanks
from swift.parallel._torch import TorchPlacement
from tests.spikes.boxes import boxes

if TYPE_CHECKING:
    from swift.optimizer import Optimizer
    from swift.parallel import Site, Source, TermsFn
    from swift.seam.types import Batch, Need

# It would be compiled here; `import deepspeed.comm.torch as t` gives torch itself.
sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # type: ignore[attr-defined]

CONFIG = {
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 1,
    "gradient_clipping": 0.0,  # 1.0 where nothing is said
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
    "zero_allow_untested_optimizer": True,
    "managed_gradient_accumulation": False,
}


class _One(nn.Module):
    """Holds a parameter, so that nothing else is partitioned."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight


class Zero3Placement(DataRanks, TorchPlacement):
    """Every rank reads its own rows; each weight is gathered while it is used."""

    def __init__(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> None:
        self._zero: Any = None
        super().__init__(source, role, optimizer, rate, site)
        self._engine, self._zero, *_ = deepspeed.initialize(
            model=self.bare, optimizer=self._optimizer, config=CONFIG
        )
        self.module = self._engine
        self.factor = float(self.data_world)

    def _shard(self) -> None:
        self.meet()
        if not deepspeed.comm.is_initialized():
            deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        for name, p in self.bare.named_parameters():
            real = nn.Parameter(self._source.value(name, p, None), requires_grad=p.requires_grad)
            torch.utils.swap_tensors(p, real)  # type: ignore[no-untyped-call]
            deepspeed.zero.Init(module=_One(p), config_dict_or_path=CONFIG)

    def _groups(self) -> list[dict[str, Any]]:
        """By the whole shape: what lies here is flat, and empty until it is used."""
        groups: dict[bool, list[nn.Parameter]] = {}
        for _, p in self.trained:
            groups.setdefault(len(p.ds_shape) > 1, []).append(p)  # type: ignore[attr-defined]
        return [{"params": ps, "decay": decay} for decay, ps in groups.items()]

    def forward_backward(
        self, batches: Sequence[Batch], terms: TermsFn, needs: frozenset[Need]
    ) -> Sums:
        """Run the micro-batches through the engine's own backward."""
        names: list[str] = []
        values: list[Tensor] = []
        losses: list[Tensor] = []
        for number, batch in enumerate(batches):
            loss, metrics = terms(number, self._forward(batch, needs))
            self._engine.backward(loss * self.factor, scale_wrt_gas=False)
            losses.append(loss.detach())
            names = list(metrics)
            values += [self._wide(v) for pair in metrics.values() for v in pair]
        return self._sums(losses, names, values)

    def _grads(self) -> list[Tensor]:
        return [g for group in self._zero.averaged_gradients.values() for g in group]

    def norm(self) -> float:
        """Return the norm over all shares; the padding of the last one is zero."""
        total = torch.zeros(1, dtype=torch.float64)
        for grad in self._grads():
            total += grad.double().square().sum()
        return float(self.reduce(total).sqrt())

    def step(self, max_norm: float | None, rate: float) -> Stepped:
        """Clip by the true norm, and let the engine update."""
        norm = self.norm()
        clip = min(1.0, max_norm / (norm + 1e-6)) if max_norm is not None else 1.0
        for grad in self._grads():
            grad.mul_(clip)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = self._rate * rate
        self._engine.step()
        return Stepped(norm=norm)

    def weights(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor]]:
        """Gather one weight at a time."""
        for name, p in self.bare.named_parameters():
            if p.requires_grad or not trained_only:
                with deepspeed.zero.GatheredParameters([p]):
                    whole = p.detach().clone()
                yield self._source.canonical(name), whole

    # --- state: a flat share is a few boxes of the tensor ---------------------------------------

    def _kept(self) -> Iterator[tuple[str, nn.Parameter, str | None]]:
        for name, p in self.trained:
            key = self._source.canonical(name)
            yield f"weight/{key}", p, None
            yield f"exp_avg/{key}", p, "exp_avg"
            yield f"exp_avg_sq/{key}", p, "exp_avg_sq"

    def _steps(self) -> list[Tensor]:
        return [s["step"] for s in self._zero.optimizer.state.values()]

    def state(self) -> Iterator[Piece]:
        """Yield boxes of weights and optimiser; numbers that all ranks have are rank 0's."""
        for name, p, part in self._kept():
            flat, shape = _share(p, part), tuple(p.ds_shape)  # type: ignore[attr-defined]
            for size, offset, begin in self._boxes(p):
                tensor = flat[begin : begin + prod(size)].reshape(size)
                yield Piece(name, tensor, shape, offset)
        if self.data_rank == 0:
            for name, _ in self.trained:
                step = self._steps()[0].clone()  # a file holds no tensor twice
                yield Piece(f"step/{self._source.canonical(name)}", step, (), ())
            yield Piece("loss_scale", self._scale.tensor, (2,), (0,))

    def load(self, read: Callable[[str, tuple[int, ...], tuple[int, ...]], Tensor]) -> None:
        """Put each share together from the boxes that it is."""
        self._warm()
        for name, p, part in self._kept():
            flat = _share(p, part).clone()
            for size, offset, begin in self._boxes(p):
                flat[begin : begin + prod(size)] = read(name, size, offset).flatten()
            if part is None:
                deepspeed.utils.safe_set_local_fp32_param(p, flat)
                p.ds_tensor.data.copy_(flat)  # type: ignore[attr-defined]  # what is computed with
            else:
                deepspeed.utils.safe_set_local_optimizer_state(p, flat, part)
        for step in self._steps():
            step.copy_(read(f"step/{self._source.canonical(self.trained[0][0])}", (), ()))

    def _warm(self) -> None:
        """Let the inner optimiser make its state, without moving a weight."""
        inner = self._zero.optimizer
        for group in inner.param_groups:
            group["lr"] = 0.0
        for i, flat in enumerate(self._zero.fp32_partitioned_groups_flat):
            group = inner.param_groups[self._zero.sub_group_to_group_id[i]]
            group["params"], flat.grad = [flat], torch.zeros_like(flat)
            inner.step()
            group["params"], flat.grad = [], None

    def _boxes(self, p: Any) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
        share = ceil(p.ds_numel / self.data_world)
        begin = share * self.data_rank
        end = min(begin + share, p.ds_numel)
        return [(s, o, at - begin) for s, o, at in boxes(tuple(p.ds_shape), begin, end)]

    def proof(self) -> Proof:
        """Return what really ran."""
        found: list[Any] = list(self.bare.parameters())
        return Proof(
            wrapper=type(self.module).__name__,
            world=self._site.world,
            data_world=self.data_world,
            tensors=len(found),
            dtensors=0,
            numel=sum(p.ds_numel for p in found),
            local_numel=sum(p.ds_tensor.numel() for p in found),
            trainable=sum(p.ds_numel for p in found if p.requires_grad),
        )


def _share(p: nn.Parameter, part: str | None) -> Tensor:
    found: Tensor
    if part is None:
        found = deepspeed.utils.safe_get_local_fp32_param(p)
    else:
        found = deepspeed.utils.safe_get_local_optimizer_state(p, part)
    return found
