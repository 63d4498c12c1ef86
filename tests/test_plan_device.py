"""Device, numbers and attention follow from what the devices can do, and are said."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import PlanError
from swift.core.machine import Machine
from swift.core.smi import Device
from swift.plan import Plan, resolve
from swift.recipe import read
from tests.kit import chat_rows, tiny_chat_model

H200 = Device(name="NVIDIA H200", memory=140 * 2**30, bfloat16=True, flash=True)
V100 = Device(name="Tesla V100", memory=32 * 2**30)
NPU = Device(name="910B3", memory=64 * 2**30, bfloat16=True)
OLD_NPU = Device(name="310P3", memory=43 * 2**30)
ARC = Device(name="Intel Arc", memory=16 * 2**30)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "rows.jsonl", 10)
    return folder


@pytest.fixture
def planned(base: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plans a recipe for a machine."""

    def plan(here: Machine, *flags: tuple[str, object], flash: bool = False) -> Plan:
        real = importlib.util.find_spec

        def find(name: str, package: str | None = None) -> ModuleSpec | None:
            if name == "flash_attn":
                return ModuleSpec(name, None) if flash else None
            return real(name, package)

        monkeypatch.setattr(sys.modules["swift.plan.resolve"], "machine", lambda: here)
        monkeypatch.setattr(importlib.util, "find_spec", find)
        named = [("model", str(base / "model")), ("dataset", str(base / "rows.jsonl"))]
        return resolve(read(None, [*named, *flags], "sft"))

    return plan


def of(kind: str, *devices: Device, remarks: tuple[str, ...] = ()) -> Machine:
    return Machine(kind=kind, vendor="x", devices=devices, remarks=remarks)


@pytest.mark.parametrize(
    ("here", "dtype"),
    [
        (Machine(), "float32"),
        (of("cuda", H200), "bfloat16"),
        (of("cuda", H200, V100), "float16"),  # what all of them do well
        (of("npu", NPU), "bfloat16"),
        (of("npu", OLD_NPU), "float16"),
        (of("xpu", ARC), "float32"),
    ],
    ids=["cpu", "new gpu", "mixed gpus", "npu", "old npu", "xpu"],
)
def test_numbers_follow_the_devices(here: Machine, dtype: str, planned: Any) -> None:
    made = planned(here)
    assert (made.device, made.dtype, made.world) == (here.kind, dtype, max(1, here.count))
    where = f"{here.describe()} ({here.kind})" if here.count else "the CPU"
    assert f"computes in {dtype} on {where}" in made.notes


def test_flash_attention_is_taken_where_it_can_run(planned: Any) -> None:
    gpu = of("cuda", H200)
    assert planned(gpu).attention == "sdpa"
    made = planned(gpu, flash=True)
    assert made.attention == "flash_attention_2"
    assert any("flash_attn" in note for note in made.notes)
    for here in (Machine(), of("cuda", V100), of("npu", NPU)):
        assert planned(here, flash=True).attention == "sdpa"
    assert planned(gpu, ("model.dtype", "float32"), flash=True).attention == "sdpa"
    split = (("nproc_per_node", 2), ("tensor_model_parallel_size", 2))
    assert planned(of("cuda", H200, H200), *split, flash=True).attention == "sdpa"


@pytest.mark.parametrize(
    ("here", "flags", "flash", "says"),
    [
        (of("cuda", H200), (), False, "flash_attn is not installed"),
        (of("cuda", V100), (), True, "has no kernels for Tesla V100"),
        (Machine(), (), True, "has no kernels for CPU"),
        (of("cuda", H200), (("model.dtype", "float32"),), True, "it knows no float32"),
    ],
)
def test_flash_attention_that_cannot_run_is_refused(
    here: Machine, flags: Any, flash: bool, says: str, planned: Any
) -> None:
    with pytest.raises(PlanError, match=says):
        planned(here, ("model.attention", "flash_attention_2"), *flags, flash=flash)


def test_what_keeps_a_device_from_use_is_a_note(planned: Any) -> None:
    assert (
        "nvidia-smi failed (9): x" in planned(Machine(remarks=("nvidia-smi failed (9): x",))).notes
    )


def test_emulated_bfloat16_is_said(planned: Any) -> None:
    made = planned(of("cuda", V100), ("model.dtype", "bfloat16"))
    assert made.dtype == "bfloat16"
    assert any("does not compute in bfloat16 itself" in note for note in made.notes)


@pytest.mark.parametrize("word", ["cpu", "cuda:1", "balanced"])
def test_a_training_is_not_spread_by_device_map(word: str, planned: Any) -> None:
    with pytest.raises(PlanError, match="a training is spread by `parallel`") as caught:
        planned(Machine(), ("model.device_map", word))
    assert "fsdp" in caught.value.problems[0].fix
    assert planned(Machine(), ("model.device_map", "none")).device == "cpu"


def test_more_processes_than_devices_is_a_problem(planned: Any) -> None:
    with pytest.raises(PlanError, match="this process may use 2 x NVIDIA H200"):
        planned(of("cuda", H200, H200), ("nproc_per_node", 3))
