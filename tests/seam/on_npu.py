"""A step of training, traced on a device that is not the CPU: run by test_device.py, alone.

Every tensor of the model lies on a fake `npu`, so that an operation raises where two devices meet.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from swift.core.machine import machine
from swift.method import methods
from swift.model.facts import read_facts
from swift.optimizer import optimizers
from swift.parallel import Site, strategies
from swift.plan import resolve
from swift.recipe import read
from swift.run.loop import Job, evaluate, one_step
from swift.run.source import ModelSource
from swift.seam import device
from swift.seam.types import Batch
from swift.tuner import tuners
from tests.kit import batch, chat_rows, tiny_chat_model

NPU = "npu:0"
SUPERVISED = 10
"""Supervised tokens of each micro-batch: a fake tensor cannot tell them."""


class Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what depends on values, which fake tensors have not."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0.5
        if func is torch.ops.aten.nonzero.default:
            shape = (SUPERVISED, args[0].dim())
            like = torch.empty(shape, dtype=torch.int64, device="meta")
            return FakeTensor(args[0].fake_mode, like, args[0].device)
        return func(*args, **(kwargs or {}))


def moved(mode: FakeTensorMode, placement: Any, optimizer: Any) -> None:
    """Put a placement's model on the fake device."""

    def there(tensor: Tensor) -> FakeTensor:
        return FakeTensor(mode, tensor.detach().to("meta"), torch.device(NPU))

    done: dict[int, nn.Parameter] = {}
    for module in placement.bare.modules():
        for name, p in module._parameters.items():
            if p is not None:
                if id(p) not in done:
                    done[id(p)] = nn.Parameter(there(p), requires_grad=p.requires_grad)
                module._parameters[name] = done[id(p)]
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = there(b)
    placement._site = dataclasses.replace(placement._site, device=NPU)
    placement.trained = [(n, p) for n, p in placement.bare.named_parameters() if p.requires_grad]
    placement._optimizer = optimizer.build(placement._groups(), 1e-4)


def fake(mode: FakeTensorMode, real: Batch) -> Batch:
    """Return a batch of fake tensors in the CPU's memory, as a real one is."""
    inputs = {name: mode.from_tensor(value) for name, value in real.inputs.items()}
    rows = dataclasses.replace(real.rows, row_N=mode.from_tensor(real.rows.row_N))
    labels = mode.from_tensor(real.labels_BT)
    return dataclasses.replace(real, inputs=inputs, labels_BT=labels, rows=rows)


def trace(folder: Path, method: str, tuner: str, dtype: str) -> None:
    """Trace a step and a validation."""
    optimizer: Any = optimizers.make("adamw")
    trained: Any = tuners.make(tuner)
    loss: Any = methods.make(method)
    source = ModelSource(read_facts("m", folder), trained, dtype=dtype, gradient_checkpointing=True)
    strategy = strategies.get("none")()
    placed: Any = strategy.place(source, "policy", optimizer, 1e-4, Site(dtype=dtype))
    real = [batch([(list(range(8)), [False] * 3 + [True] * 5)] * 2)] * 2
    placed.no_grad(real, "policy", frozenset({"logp"}))  # what is found out at the first forward
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, Numbers():  # type: ignore[no-untyped-call]
        moved(mode, placed, optimizer)
        batches = [fake(mode, b) for b in real]

        class Feed:
            def validation(self) -> list[list[Batch]]:
                return [batches]

        job: Any = dataclasses.replace(_JOB, placement=placed, method=loss)
        job = dataclasses.replace(job, feed=Feed())
        _, stepped, _ = one_step(job, batches, 1.0)
        assert not stepped.skipped
        grads = [p.grad for _, p in placed.trained]
        assert grads == [None] * len(grads), "the step clears them"
        state = placed._optimizer.state
        assert {t.device.type for p in state for t in state[p].values() if t.dim()} == {"npu"}
        assert evaluate(job)


def never(*_: Any, **__: Any) -> int:
    return 0


_NOTHING: Any = None
_JOB = Job(
    placement=_NOTHING,
    frozen={},
    method=_NOTHING,
    feed=_NOTHING,
    rate=lambda step: 1.0,
    peak=1e-4,
    max_grad_norm=1.0,
    save_every=0,
    eval_every=0,
    save=_NOTHING,
    event=never,
    asked_to_stop=never,
)


def main(folder: Path) -> None:
    tiny_chat_model(folder / "m")
    chat_rows(folder / "rows.jsonl", 5)
    flags = [("model", str(folder / "m")), ("dataset", str(folder / "rows.jsonl"))]
    plan = resolve(read(None, flags, "sft"))
    assert (plan.device, plan.dtype, plan.attention) == ("npu", "bfloat16", "sdpa"), plan
    assert (plan.world, plan.strategy) == (2, "ddp")
    assert "computes in bfloat16 on 2 x 910B3 (npu)" in plan.notes
    assert machine().vendor == "ascend"
    assert device.present() == "npu"
    assert "torch_npu" in sys.modules
    assert (device.count("npu"), device.address("npu", 1)) == (2, "npu:1")
    assert device.best_dtype("npu") == "bfloat16"
    assert device.widest(NPU) == torch.float32
    kept = device.generators("npu")
    torch.get_device_module("npu").manual_seed_all(7)
    device.set_generator("npu", kept["npu"])
    assert torch.equal(device.generators("npu")["npu"], kept["npu"])
    trace(folder / "m", "sft", "full", "bfloat16")
    trace(folder / "m", "dpo", "lora", "float16")
    print("traced")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
