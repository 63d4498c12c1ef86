"""Devices are found through what the vendors' tools print; stand-ins for them print that here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swift.core import machine as module
from swift.core.machine import Machine, look, machine, torch_serves

RECORDED = Path(__file__).parent / "devices"
VARIABLES = (
    "CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES ASCEND_RT_VISIBLE_DEVICES "
    "ZE_AFFINITY_MASK"
)
GIB = 2**30

Tool = Callable[..., None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts tools on an otherwise empty PATH: each pattern of arguments prints a recorded file."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in VARIABLES.split():
        monkeypatch.delenv(name, raising=False)

    def put(name: str, answers: dict[str, str], *, code: int = 0) -> None:
        cases = [f"{args}) /bin/cat {RECORDED / said}.txt;;" for args, said in answers.items()]
        script = f'#!/bin/sh\ncase "$*" in\n{chr(10).join(cases)}\n*) exit 9;;\nesac\nexit {code}\n'
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)

    return put


ONE_TOOL = [
    # tool, what it prints, kind, vendor, names, GiB of each, bfloat16
    ("nvidia-smi", "nvidia_h200", "cuda nvidia", ["NVIDIA H200"] * 2, [140.40, 140.40], True),
    ("nvidia-smi", "nvidia_v100", "cuda nvidia", ["Tesla V100-SXM2-32GB"], [32.0], False),
    ("nvidia-smi", "nvidia_unified", "cuda nvidia", ["NVIDIA GB10"], [None], True),
    ("amd-smi", "amd_smi_6", "cuda amd", ["AMD Instinct MI300X"], [191.98], True),
    ("amd-smi", "amd_smi_7", "cuda amd", ["AMD Instinct MI300X", "N/A"], [191.98, None], False),
    ("rocm-smi", "rocm_smi_5", "cuda amd", ["AMD INSTINCT MI250"] * 2, [63.98, 63.98], True),
    ("rocm-smi", "rocm_smi_6", "cuda amd", ["AMD Instinct MI300X"], [191.98], True),
    ("npu-smi", "npu_smi_910b", "npu ascend", ["910B3"] * 2, [64.0, 64.0], True),
    ("npu-smi", "npu_smi_910_first", "npu ascend", ["910A"], [31.50], False),
    ("npu-smi", "npu_smi_a3", "npu ascend", ["Ascend910"] * 2, [64.0, 64.0], True),
    ("npu-smi", "npu_smi_310p", "npu ascend", ["310P3"] * 2, [43.24, 42.67], False),
]


@pytest.mark.parametrize(
    ("name", "said", "kinds", "names", "sizes", "half"), ONE_TOOL, ids=[r[1] for r in ONE_TOOL]
)
def test_a_tools_words_tell_name_memory_and_bfloat16(
    name: str,
    said: str,
    kinds: str,
    names: list[str],
    sizes: list[float | None],
    half: bool,
    tool: Tool,
) -> None:
    tool(name, {"*": said})
    here = look()
    assert (f"{here.kind} {here.vendor}", list(here.names)) == (kinds, names)
    found = [device.memory and round(device.memory / GIB, 2) for device in here.devices]
    assert found == sizes
    assert here.bfloat16 is half
    assert here.remarks == ()


def test_intels_tool_is_asked_for_each_devices_memory(tool: Tool) -> None:
    tool("xpu-smi", {'"discovery -j"': "xpu_smi", '"discovery -d 0 -j"': "xpu_smi_0"})
    here = look()
    assert (here.kind, here.names) == ("xpu", ("Intel(R) Data Center GPU Max 1550",))
    assert (here.memory, here.bfloat16) == (128 * GIB, True)


@pytest.mark.parametrize(("release", "half"), [("13.6", False), ("14.0", True), ("26.1", True)])
def test_an_apple_chip_is_one_device(
    release: str, half: bool, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("sysctl", {"*": "sysctl"})
    assert look() == Machine(), "sysctl is asked on macOS alone"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("platform.mac_ver", lambda: (release, ("", "", ""), "arm64"))
    here = look()
    assert (here.kind, here.names, here.memory) == ("mps", ("Apple M3 Max",), 128 * GIB)
    assert here.bfloat16 is half


def test_a_driver_that_knows_no_capability_is_asked_again(tool: Tool, tmp_path: Path) -> None:
    tool("nvidia-smi", {"*compute_cap*": "nvidia_old_field", "*": "nvidia_450"})
    script = (tmp_path / "nvidia-smi").read_text()
    (tmp_path / "nvidia-smi").write_text(script.replace("field.txt;;", "field.txt; exit 2;;"))
    here = look()
    assert here.names == ("A100-SXM4-40GB", "Tesla T4")
    assert [device.bfloat16 for device in here.devices] == [True, False]
    assert here.remarks == (), "what the second question answered needs no remark"


def test_of_a_gpu_that_is_cut_up_a_process_sees_one_instance(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("nvidia-smi", {"-L": "nvidia_mig_list", "*": "nvidia_mig"})
    here = look()
    assert (here.names, here.memory) == (("NVIDIA H100 80GB HBM3 MIG 3g.40gb",), 40 * GIB)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-12000000")
    assert look().names == ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me",)
    assert look().bfloat16


@pytest.mark.parametrize(
    ("named", "count"),
    [
        ("0", 1),
        ("1,0", 2),
        ("", 0),
        ("-1", 0),
        ("0,-1,1", 1),  # what stands after an unknown one does not count
        ("3,4,5", 0),
        ("GPU-0b", 1),
        ("GPU-0", 0),  # it names both
    ],
)
def test_hidden_gpus_do_not_count(
    named: str, count: int, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("nvidia-smi", {"*": "nvidia_h200"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    here = look()
    assert here.count == count
    assert here.kind == ("cuda" if count else "cpu")
    if not count:
        assert here.remarks == ("2 devices are hidden by CUDA_VISIBLE_DEVICES",)


@pytest.mark.parametrize(
    ("name", "said", "variable", "value"),
    [
        ("rocm-smi", "rocm_smi_5", "HIP_VISIBLE_DEVICES", "1"),
        ("rocm-smi", "rocm_smi_5", "ROCR_VISIBLE_DEVICES", "1"),
        ("rocm-smi", "rocm_smi_5", "CUDA_VISIBLE_DEVICES", "1"),
        ("npu-smi", "npu_smi_910b", "ASCEND_RT_VISIBLE_DEVICES", "1"),
    ],
)
def test_each_vendor_has_its_own_variable(
    name: str,
    said: str,
    variable: str,
    value: str,
    tool: Tool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool(name, {"*": said})
    monkeypatch.setenv(variable, value)
    assert look().count == 1


def test_amds_variables_count_among_what_the_first_left(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("rocm-smi", {"*": "rocm_smi_5"})
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert look().count == 0
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    assert look().count == 1


def test_a_tile_in_intels_mask_is_a_tile_of_its_device(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("xpu-smi", {'"discovery -j"': "xpu_smi", "*": "xpu_smi_0"})
    monkeypatch.setenv("ZE_AFFINITY_MASK", "0.1")
    assert look().count == 1
    monkeypatch.setenv("ZE_AFFINITY_MASK", "1")
    assert look().count == 0


def test_a_tool_that_fails_is_told_of(tool: Tool) -> None:
    tool("nvidia-smi", {"*": "nvidia_old_field"}, code=6)
    here = look()
    assert (here.kind, here.count) == ("cpu", 0)
    assert here.remarks[0].startswith("nvidia-smi failed (6): Field")


def test_a_tool_that_hangs_is_not_waited_for(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("npu-smi", {"*": "npu_smi_910b"})
    (tmp_path / "npu-smi").write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    assert look().remarks == ("npu-smi said nothing for 0.05 s: it was ended",)


def test_words_that_no_reader_understands_are_no_devices(tool: Tool) -> None:
    tool("rocm-smi", {"*": "npu_smi_910b"})
    tool("npu-smi", {"*": "rocm_smi_5"})
    here = look()
    assert here.count == 0
    assert here.remarks[0].startswith("rocm-smi printed what is not understood")


def test_of_two_vendors_the_first_that_torch_can_use_is_taken(tool: Tool) -> None:
    tool("nvidia-smi", {"*": "nvidia_v100"})
    tool("npu-smi", {"*": "npu_smi_910b"})
    assert look().kind == "cuda"
    here = look({"ascend"})
    assert here.kind == "npu"
    assert here.remarks == (
        "Tesla V100-SXM2-32GB: of no use to the torch that is installed; "
        "a build of torch for CUDA is",
    )


@pytest.mark.parametrize(
    ("said", "serves"),
    [
        (
            "cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\nxpu: Optional[str] = None",
            "nvidia",
        ),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4.43482'\n", "amd"),
        ("cuda = None\nhip = None\nxpu: Optional[str] = '20250302'\n", "intel"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", ""),
    ],
)
def test_what_torch_was_built_for_is_read_from_its_text(
    said: str, serves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('nobody imports it')")
    (tmp_path / "torch" / "version.py").write_text(said)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert torch_serves() == frozenset(serves.split())
    monkeypatch.setattr(sys, "path", [])
    assert torch_serves() is None


def test_the_machine_is_described_in_a_line(tool: Tool) -> None:
    assert look().describe() == "CPU"
    tool("nvidia-smi", {"*": "nvidia_h200"})
    assert look().describe() == "2 x NVIDIA H200"


def test_the_machine_is_looked_at_once(tool: Tool, tmp_path: Path) -> None:
    machine.cache_clear()
    try:
        first = machine()
        tool("nvidia-smi", {"*": "nvidia_h200"})
        assert machine() is first
    finally:
        machine.cache_clear()
