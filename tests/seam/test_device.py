"""What is said to torch about devices: on this CPU, and on stand-ins for other kinds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swift.core.device import accelerator, accelerators
from swift.core.errors import MachineError
from swift.seam import device

HERE = Path(__file__).parent


def test_a_cpu_is_a_device_like_others() -> None:
    device.ready("cpu")
    assert (device.join("cpu", 3), device.address("cpu", 3), device.count("cpu")) == (
        "gloo",
        "cpu",
        1,
    )
    assert (device.best_dtype("cpu"), device.widest("cpu")) == ("float32", torch.float64)
    assert device.free_memory(torch.device("cpu")) is None
    assert device.peak_memory() > 10**7


def test_a_generator_goes_back_to_where_it_was() -> None:
    kept = device.generators("cpu")
    first = torch.rand(3)
    device.set_generator("cpu", kept["cpu"])
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("kind", [kind for kind in accelerators() if kind != "cpu"])
def test_a_device_that_torch_does_not_see_is_the_machines_matter(kind: str) -> None:
    with pytest.raises(MachineError) as caught:
        device.join(kind, 0)
    assert caught.value.problems[0].fix


def test_torch_and_the_table_agree_on_collectives() -> None:
    known = torch.distributed.Backend.default_device_backend_map
    for kind, row in accelerators().items():
        assert row.collectives in ("", known.get(kind, row.collectives))


def test_an_unknown_kind_is_taken_for_a_plug_in_of_torch() -> None:
    assert accelerator("maia").half == "float32"
    assert accelerator("maia").plugin == ""


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of a device that keeps what it is told."""
    module = SimpleNamespace(
        state=torch.zeros(3, dtype=torch.uint8),
        is_available=lambda: True,
        device_count=lambda: 2,
        is_bf16_supported=lambda including_emulation=True: including_emulation,
    )
    module.get_rng_state = lambda: module.state
    module.set_rng_state = lambda state: setattr(module, "state", state)
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module)
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda n: setattr(module, "n", n))
    return module


def test_each_process_takes_its_own_device(one_gpu: Any) -> None:
    assert device.join("cuda", 1) == "cpu:gloo,cuda:nccl"
    assert one_gpu.n == 1
    assert device.join("xpu", 0) == "cpu:gloo,xpu:xccl"
    with pytest.raises(MachineError, match="process 2 of this machine has no device"):
        device.join("cuda", 2)


def test_bfloat16_that_is_only_emulated_does_not_count(one_gpu: Any) -> None:
    assert device.best_dtype("cuda") == "float16"
    one_gpu.is_bf16_supported = lambda: True  # Ascend's asks for no word
    assert device.best_dtype("npu") == "bfloat16"


def test_generators_of_older_checkpoints_are_set(one_gpu: Any) -> None:
    """Their names are generator/cuda/RANK and generator/cpu/RANK, as now."""
    assert set(device.generators("cuda")) == {"cpu", "cuda"}
    device.set_generator("cuda", torch.ones(3, dtype=torch.uint8))
    assert one_gpu.state.tolist() == [1, 1, 1]


@pytest.mark.slow
def test_a_step_keeps_to_its_device(tmp_path: Path) -> None:
    """In a process of its own, where a stand-in tells torch of NPUs; see on_npu.py."""
    tool = tmp_path / "npu-smi"
    said = HERE.parent / "core" / "devices" / "npu_smi_910b.txt"
    tool.write_text(f"#!/bin/sh\nexec /bin/cat {said}\n")
    tool.chmod(0o755)
    hidden = {"CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"PATH": str(tmp_path), "PYTHONPATH": f"{HERE / 'stand_in'}:{HERE.parents[1]}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.seam.on_npu", str(tmp_path)],
        capture_output=True,
        text=True,
        env=env,
        cwd=HERE.parents[1],
    )
    assert done.stdout.endswith("traced\n"), done.stderr
