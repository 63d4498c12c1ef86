"""Tensor parallelism by DTensor behind Placement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)

from swift.core.errors import PlanError, Problem
from swift.model import skeleton
from swift.parallel import Stepped
from swift.parallel._ddp import SameRows
from swift.parallel._torch import TorchPlacement

_HEAD = {"colwise_gather_output", "colwise_rep"}


class TpPlacement(SameRows, TorchPlacement):
    """Matrices are cut by columns or rows; every rank computes the same rows of data."""

    def _shard(self) -> None:
        mesh = init_device_mesh(self._site.device.split(":")[0], (self._site.world,))
        self._partial: list[nn.Parameter] = []
        styles: dict[str, ParallelStyle] = {}
        for name, module, word in _planned(self.bare):
            if word in _HEAD:
                _shard_head(module, self.bare.model, mesh)
            elif word == "replicated_with_grad_allreduce":
                self._partial += list(module.parameters())
            else:
                styles |= _styles(name, module, word)
        parallelize_module(self.bare, mesh, styles, src_data_rank=None)
        _tie_again(self.bare.model)

    def step(self, max_norm: float | None, rate: float) -> Stepped:
        """Sum the gradients of weights that each rank used for its own heads, then step."""
        for p in self._partial:
            if p.grad is not None:
                dist.all_reduce(p.grad)
        return super().step(max_norm, rate)

    def _sum_shards(self, value: Tensor) -> Tensor:
        dist.all_reduce(value)
        return value


def _planned(bare: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield (name, module, word of transformers' plan) for every module that the plan names."""
    model: nn.Module = bare.model  # type: ignore[assignment]
    inner = skeleton.bare(model)
    plan: Mapping[str, str] = inner.tp_plan
    if not plan:
        raise PlanError(
            Problem(
                where="parallel.tensor_model_parallel_size",
                what=f"transformers has no tensor-parallel plan for {type(inner).__name__}",
                fix="parallel: {strategy: fsdp}",
            )
        )
    patterns = [
        (re.compile(k.replace(".", r"\.").replace("*", "[^.]+")), v) for k, v in plan.items()
    ]
    prefix = next(n for n, m in bare.named_modules() if m is inner) + "."
    for name, module in bare.named_modules():
        for pattern, word in patterns:
            if name.startswith(prefix) and pattern.fullmatch(name.removeprefix(prefix)):
                yield name, module, word


def _styles(name: str, module: nn.Module, word: str) -> dict[str, ParallelStyle]:
    """Return the styles of a planned layer; a LoRA layer's B follows columns, its A rows.

    Plain LoRA over a row-wise layer would multiply a slice of x with the whole of A.
    """
    adapted = hasattr(module, "base_layer")
    if word == "embedding_rowwise":
        return {name: RowwiseParallel(input_layouts=Replicate())}
    if word == "colwise":
        if not adapted:
            return {name: ColwiseParallel()}
        return {
            f"{name}.base_layer": ColwiseParallel(),
            f"{name}.lora_B.default": ColwiseParallel(),
        }
    if word == "rowwise":
        if not adapted:
            return {name: RowwiseParallel()}
        return {
            f"{name}.base_layer": RowwiseParallel(),
            f"{name}.lora_A.default": RowwiseParallel(),
        }
    raise PlanError(
        Problem(
            where="parallel.tensor_model_parallel_size",
            what=f"`{name}` wants the style `{word}`, which is not carried out yet",
            fix="parallel: {strategy: fsdp}",
        )
    )


def _shard_head(head: nn.Module, model: object, mesh: DeviceMesh) -> None:
    """Cut the output head by vocabulary; LogProbs computes on the slices, so it gets no hooks."""
    for name, p in list(head.named_parameters(recurse=False)):
        cut = distribute_tensor(p, mesh, [Shard(0)], src_data_rank=None)
        head.register_parameter(name, nn.Parameter(cut, requires_grad=p.requires_grad))


def _tie_again(model: object) -> None:
    """Let a tied head be the embedding's very parameter again after both were cut."""
    embedding = model.get_input_embeddings()  # type: ignore[attr-defined]
    head = model.get_output_embeddings()  # type: ignore[attr-defined]
    if head is not None and model.config.tie_word_embeddings:  # type: ignore[attr-defined]  # of transformers
        head.weight = embedding.weight
