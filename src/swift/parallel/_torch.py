"""One process, and what every torch placement shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from swift.core.errors import PlanError, Problem
from swift.parallel import Piece, Proof, Site, Source, Stepped, Sums
from swift.parallel._fill import fill, is_sharded, local, place_of
from swift.parallel._scale import LossScale
from swift.seam.device import widest
from swift.seam.noise import noisy

if TYPE_CHECKING:
    from swift.optimizer import Optimizer
    from swift.parallel import TermsFn
    from swift.seam.logprobs import LogProbs
    from swift.seam.scores import Scores
    from swift.seam.types import Batch, Need, Outputs

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchPlacement:
    """A model in one process; the sharded placements override what the engine changes."""

    data_rank = 0
    data_world = 1
    factor = 1.0
    """What undoes the engine's own averaging over ranks."""

    def __init__(
        self, source: Source, role: str, optimizer: Optimizer | None, rate: float, site: Site
    ) -> None:
        self._source, self._site, self._rate = source, site, rate
        self.bare: LogProbs | Scores = source.build(role)
        self._shard()
        fill(self.bare, source, site.device)
        if optimizer is None:
            self.bare.requires_grad_(False)
        self.module: nn.Module = self._wrap()
        self.trained = [(n, p) for n, p in self.bare.named_parameters() if p.requires_grad]
        self._optimizer = optimizer.build(self._groups(), rate) if optimizer else None
        self._scale = LossScale(site.dtype == "float16" and optimizer is not None)
        self.train(optimizer is not None)

    # --- what a sharded placement overrides -------------------------------------------------

    def _shard(self) -> None:
        """Cut the meta parameters of `self.bare` before they get their numbers."""

    def _wrap(self) -> nn.Module:
        """Return the module to call."""
        return self.bare

    def _last_only(self, last: bool) -> AbstractContextManager[None]:
        """Let gradients meet over ranks in the last micro-batch only, where that is cheaper."""
        return nullcontext()

    def reduce(self, tensor: Tensor) -> Tensor:
        """Sum over data ranks."""
        return tensor

    def gather(self, tensor: Tensor) -> tuple[Tensor, int]:
        """Return (all data ranks' values, where mine begin)."""
        return tensor, 0

    def _sum_shards(self, value: Tensor) -> Tensor:
        """Sum over the ranks that hold different shards."""
        return value

    # --- forward and backward ---------------------------------------------------------------

    def forward_backward(
        self, batches: Sequence[Batch], terms: TermsFn, needs: frozenset[Need]
    ) -> Sums:
        """Run the micro-batches; gradients add up. See Placement."""
        names: list[str] = []
        values: list[Tensor] = []
        losses: list[Tensor] = []
        for number, batch in enumerate(batches):
            with self._last_only(number == len(batches) - 1):
                with self._noise(batch):
                    out = self._forward(batch, needs)
                loss, metrics = terms(number, out)
                if not loss.requires_grad:
                    raise _unreached()
                (loss * (self.factor * self._scale.value)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            names = list(metrics)
            values += [self._wide(v) for n in names for v in metrics[n]]
        return self._sums(losses, names, values)

    def _noise(self, batch: Batch) -> AbstractContextManager[None]:
        """Return what lays noise on the model's input, if that is wished for."""
        alpha = self._site.neftune
        return noisy(self.bare.model, batch, alpha) if alpha else nullcontext()

    def _sums(self, losses: list[Tensor], names: list[str], values: list[Tensor]) -> Sums:
        """Add up over micro-batches and data ranks: one transfer, one all-reduce."""
        loss = torch.stack([self._wide(x) for x in losses]).sum().reshape(1)
        table = torch.stack(values) if values else loss.new_zeros(0)
        columns = table.reshape(len(losses), -1).sum(0)
        loss_value, *flat = self.reduce(torch.cat([loss, columns])).tolist()
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return Sums(loss=loss_value, metrics=dict(zip(names, pairs, strict=True)))

    def _wide(self, value: Tensor | float) -> Tensor:
        """Return a number on this rank's device, in the widest type that it adds up."""
        device = self._site.device
        if isinstance(value, Tensor):
            return value.detach().to(device).to(widest(device))
        return torch.full((), value, dtype=widest(device), device=device)

    def no_grad(self, batches: Sequence[Batch], role: str, needs: frozenset[Need]) -> list[Outputs]:
        """Return outputs without gradient, dropout off; "reference" switches adapters off."""
        view = self._source.off(self.bare) if role == "reference" else nullcontext()
        was = self.bare.training
        self.train(False)
        try:
            with torch.no_grad(), view:
                return [self._forward(batch, needs) for batch in batches]
        finally:
            self.train(was)

    def _forward(self, batch: Batch, needs: frozenset[Need]) -> Outputs:
        device = self._site.device
        inputs = {k: v.to(device, non_blocking=True) for k, v in batch.inputs.items()}
        half = _HALF.get(self._site.dtype)
        with torch.autocast(device.split(":")[0], half) if half else nullcontext():
            out: Outputs = self.module(inputs, batch.labels_BT.to(device), needs)
        return out

    def train(self, mode: bool) -> None:
        """Switch dropout on or off."""
        self.bare.train(mode)

    # --- the update ---------------------------------------------------------------------------

    def _groups(self) -> list[dict[str, Any]]:
        """Split the trained weights: matrices decay, vectors do not; DTensors stay apart.

        By their whole shape: a shard may look like a vector. Torch's fused kernels refuse lists
        that mix DTensors with plain tensors.
        """
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for _, p in self.trained:
            groups.setdefault((p.dim() > 1, isinstance(p, DTensor)), []).append(p)
        return [{"params": ps, "decay": decay} for (decay, _), ps in groups.items()]

    def step(self, max_norm: float | None, rate: float) -> Stepped:
        """Clip by the true norm, update, clear. A norm that is not finite updates nothing."""
        assert self._optimizer is not None, "a frozen model has no step"
        for _, p in self.trained:
            if isinstance(p.grad, DTensor) and p.grad.placements != p.placements:  # type: ignore[attr-defined]
                p.grad = p.grad.redistribute(placements=p.placements)  # type: ignore[attr-defined]
        scale = self._scale.value
        norm = self.norm() / scale
        finite = self._scale.update(norm)
        if finite:
            clip = min(1.0, max_norm / (norm + 1e-6)) if max_norm is not None else 1.0
            if clip / scale != 1.0:
                for _, p in self.trained:
                    if p.grad is not None:
                        local(p.grad).mul_(clip / scale)
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate * rate
            self._optimizer.step()
        self._optimizer.zero_grad()
        return Stepped(norm=norm, skipped=not finite, scale=scale)

    def norm(self) -> float:
        """Return the L2 norm of the whole gradient; squares are summed in the widest numbers."""
        wide = widest(self._site.device)
        sums = torch.zeros(2, dtype=wide, device=self._site.device)
        for sharded in (True, False):
            grads = [
                local(p.grad)
                for _, p in self.trained
                if p.grad is not None and is_sharded(p) == sharded
            ]
            if grads:
                norms = torch._foreach_norm(grads, 2, dtype=wide)
                sums[int(sharded)] = torch.stack(norms).square().sum()
        whole, shards = sums[:1], self._sum_shards(sums[1:])
        return float((whole + shards).sqrt())

    # --- saving --------------------------------------------------------------------------------

    def weights(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor]]:
        """Stream whole tensors under their canonical names."""
        for name, p in self.bare.named_parameters():
            if trained_only and not p.requires_grad:
                continue
            whole = p.full_tensor() if isinstance(p, DTensor) else self._source.whole(p)
            yield self._source.canonical(name), whole.detach()

    def state(self) -> Iterator[Piece]:
        """Yield this rank's pieces: weights, optimiser, loss scale.

        Tensors that every rank holds whole are rank 0's to give.
        """
        for name, tensor in self._tensors():
            if self._site.rank == 0 or is_sharded(tensor):
                _, offset = place_of(tensor)
                yield Piece(name, local(tensor).detach(), tuple(tensor.shape), offset)

    def load(self, read: Callable[[str, tuple[int, ...], tuple[int, ...]], Tensor]) -> None:
        """Set all that `state` gives."""
        self._warm_optimizer()
        with torch.no_grad():
            for name, tensor in self._tensors():
                shape, offset = place_of(tensor)
                local(tensor).copy_(read(name, shape, offset))
        self._scale.loaded()

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor of the state by a name that does not depend on the placement."""
        for name, p in self.trained:
            key = self._source.canonical(name)
            yield f"weight/{key}", p
            if self._optimizer is not None:
                for part, value in sorted(self._optimizer.state[p].items()):
                    if isinstance(value, Tensor):
                        yield f"{part}/{key}", value
        yield "loss_scale", self._scale.tensor

    def _warm_optimizer(self) -> None:
        """Let the optimiser make its state, without moving a weight."""
        assert self._optimizer is not None, "a frozen model has no state"
        kept = [local(p).detach().clone() for _, p in self.trained]
        for _, p in self.trained:
            p.grad = torch.zeros_like(p)
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            for (_, p), value in zip(self.trained, kept, strict=True):
                local(p).copy_(value)

    # --- facts ---------------------------------------------------------------------------------

    def model(self) -> nn.Module:
        """Return the transformers (or PEFT) model."""
        return self.bare.model

    def proof(self) -> Proof:
        """Return what really ran."""
        parameters = list(self.bare.parameters())
        return Proof(
            wrapper=type(self.module).__name__,
            world=self._site.world,
            data_world=self.data_world,
            tensors=len(parameters),
            dtensors=sum(isinstance(p, DTensor) for p in parameters),
            numel=sum(self._source.numel(p) for p in parameters),
            local_numel=sum(self._source.numel(local(p)) for p in parameters),
            trainable=sum(p.numel() for _, p in self.trained),
        )


def _unreached() -> PlanError:
    what = "no gradient reaches the weights that are trained: the model's own layers cut it off"
    return PlanError(Problem(where="tuner", what=what, fix="tuner: full, or other targets"))
