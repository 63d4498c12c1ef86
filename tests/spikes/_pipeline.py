"""A pipeline behind Placement, by hand: each rank holds some of the layers (1F1B order).

A spike: it shows what the protocol must carry (Narayanan et al., 2021, arXiv:2104.04473, 2.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from swift.parallel import Piece, Proof, Stepped, Sums
from swift.parallel._ddp import SameRows
from swift.parallel._torch import TorchPlacement

if TYPE_CHECKING:
    from swift.parallel import TermsFn
    from swift.seam.types import Batch, Need, Outputs


class Through(nn.Module):
    """Stands where a layer was that another stage holds, so that names and indices stay."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden


class PipelinePlacement(SameRows, TorchPlacement):
    """One stage of a model; every rank reads the same rows."""

    # --- the cut ----------------------------------------------------------------------------

    def _shard(self) -> None:
        stages, own = self._site.world, self._site.rank
        self._first, self._last = own == 0, own == stages - 1
        self._whole = (
            len(list(self.bare.parameters())),
            sum(p.numel() for p in self.bare.parameters()),
            sum(p.numel() for p in self.bare.parameters() if p.requires_grad),
        )
        model: Any = self.bare.model
        self._inner: Any = model.get_decoder()
        layers = self._inner.layers
        for i in range(len(layers)):
            if i * stages // len(layers) != own:
                layers[i] = Through()
        tied = model.config.tie_word_embeddings
        self._tied = self._inner.embed_tokens.weight if tied and (own in (0, stages - 1)) else None
        if not self._first and self._tied is None:
            self._inner.embed_tokens = Through()
        if not self._last:
            self._inner.norm = Through()
            model.lm_head = self._inner.embed_tokens if tied and self._first else Through()
        self._ends = dist.new_group([0, stages - 1])

    def _stage(self, batch: Batch, needs: frozenset[Need], before: Tensor | None) -> Any:
        """Return this stage's hidden states; of the last one its outputs."""
        inputs = dict(batch.inputs)
        if before is not None:
            inputs["inputs_embeds"] = before
            del inputs["input_ids"]
        if self._last:
            return self.bare(inputs, batch.labels_BT, needs)
        return self._inner(**inputs, use_cache=False).last_hidden_state

    # --- between stages -----------------------------------------------------------------------

    def _like(self, batch: Batch) -> Tensor:
        """Every rank has the batch, so the shape of what comes needs no word of its own."""
        width = self._inner.config.hidden_size
        return torch.empty(*batch.labels_BT.shape, width, dtype=next(self.bare.parameters()).dtype)

    def _receive(self, batch: Batch, source: int) -> Tensor:
        got = self._like(batch)
        dist.recv(got, source)
        return got

    def _send(self, tensor: Tensor, target: int) -> None:
        tensor = tensor.detach().contiguous()
        self._sent.append((dist.isend(tensor, target), tensor))

    def _all_sent(self) -> None:
        for work, _ in self._sent:
            work.wait()
        self._sent.clear()

    # --- Placement ----------------------------------------------------------------------------

    def forward_backward(
        self, batches: Sequence[Batch], terms: TermsFn, needs: frozenset[Need]
    ) -> Sums:
        """Run 1F1B: at most as many micro-batches are under way as stages follow."""
        self._sent: list[Any] = []
        self._losses: list[Tensor] = []
        self._names: list[str] = []
        self._values: list[Tensor] = []
        under_way: list[tuple[Batch, Tensor | None, Tensor]] = []
        ahead = self._site.world - 1 - self._site.rank
        for number, batch in enumerate(batches):
            under_way.append(self._ahead(number, batch, terms, needs))
            if len(under_way) > ahead:
                self._back(*under_way.pop(0))
        while under_way:
            self._back(*under_way.pop(0))
        self._all_sent()
        sums: Sums = self._told(self._mine() if self._last else None)
        return sums

    def _mine(self) -> Sums:
        """Add up what the last stage has found; every rank reads the same rows."""
        table = torch.stack(self._values) if self._values else torch.zeros(0)
        flat = table.reshape(len(self._losses), -1).sum(0).tolist()
        pairs = zip(flat[::2], flat[1::2], strict=True)
        loss = float(torch.stack(self._losses).sum())
        return Sums(loss=loss, metrics=dict(zip(self._names, pairs, strict=True)))

    def _ahead(
        self, number: int, batch: Batch, terms: TermsFn, needs: frozenset[Need]
    ) -> tuple[Batch, Tensor | None, Tensor]:
        before = None
        if not self._first:
            before = self._receive(batch, self._site.rank - 1).requires_grad_()
        out = self._stage(batch, needs, before)
        if not self._last:
            self._send(out, self._site.rank + 1)
            return batch, before, out
        loss, metrics = terms(number, out)
        self._losses.append(loss.detach())
        self._names = list(metrics)
        self._values += [self._wide(v) for pair in metrics.values() for v in pair]
        return batch, before, loss * self._scale.value

    def _back(self, batch: Batch, before: Tensor | None, out: Tensor) -> None:
        grad = None if self._last else self._receive(batch, self._site.rank + 1)
        if out.requires_grad:
            out.backward(grad)  # type: ignore[no-untyped-call]
        if before is not None:
            assert before.grad is not None
            self._send(before.grad, self._site.rank - 1)

    def _told(self, value: Any) -> Any:
        """Return on every rank what the last stage has."""
        box = [value]
        dist.broadcast_object_list(box, src=self._site.world - 1)
        return box[0]

    def no_grad(self, batches: Sequence[Batch], role: str, needs: frozenset[Need]) -> list[Outputs]:
        """Return the last stage's outputs on every rank."""
        self._sent = []
        view = self._source.off(self.bare) if role == "reference" else nullcontext()
        was, outs = self.bare.training, []
        self.train(False)
        try:
            with torch.no_grad(), view:
                for batch in batches:
                    before = None if self._first else self._receive(batch, self._site.rank - 1)
                    outs.append(self._stage(batch, needs, before))
                    if not self._last:
                        self._send(outs[-1], self._site.rank + 1)
        finally:
            self.train(was)
        self._all_sent()
        found: list[Outputs] = self._told(outs if self._last else 0)
        return found

    def step(self, max_norm: float | None, rate: float) -> Stepped:
        """Add up the two gradients of a tied head, then step."""
        if self._tied is not None and not (self._first and self._last):
            if self._tied.grad is None:
                self._tied.grad = torch.zeros_like(self._tied)
            dist.all_reduce(self._tied.grad, group=self._ends)
        return super().step(max_norm, rate)

    def _own(self) -> list[tuple[str, nn.Parameter]]:
        """Weights of this stage; a tied head is the first one's."""
        return [
            (n, p) for n, p in self.bare.named_parameters() if self._first or p is not self._tied
        ]

    def norm(self) -> float:
        """Return the norm over all stages."""
        grads = [p.grad for _, p in self._own() if p.grad is not None]
        total = torch.zeros(1, dtype=torch.float64)
        for grad in grads:
            total += grad.double().square().sum()
        dist.all_reduce(total)
        return float(total.sqrt())

    def weights(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor]]:
        """Stream whole weights, stage after stage, to every rank."""
        mine = [
            (self._source.canonical(n), self._source.whole(p).detach())
            for n, p in self._own()
            if p.requires_grad or not trained_only
        ]
        for stage in range(self._site.world):
            box = [[(n, w.shape, w.dtype) for n, w in mine] if stage == self._site.rank else None]
            dist.broadcast_object_list(box, src=stage)
            for i, (name, shape, dtype) in enumerate(box[0] or []):
                here = stage == self._site.rank
                whole = mine[i][1].contiguous() if here else torch.empty(shape, dtype=dtype)
                dist.broadcast(whole, src=stage)
                yield name, whole

    def state(self) -> Iterator[Piece]:
        """Yield what this stage owns."""
        kept = {self._source.canonical(n) for n, _ in self._own()}
        for name, tensor in self._tensors():
            if name.partition("/")[2] in kept or (name == "loss_scale" and self._first):
                yield Piece(name, tensor.detach(), tuple(tensor.shape), (0,) * tensor.dim())

    def proof(self) -> Proof:
        """Return what the whole is, and what lies here."""
        tensors, numel, trainable = self._whole
        trainable = trainable if self.trained else 0
        return replace(super().proof(), tensors=tensors, numel=numel, trainable=trainable)
