"""GPUs are found through what the driver's own tool prints; here a stand-in for it prints that."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.core.machine import Machine, machine

TWO = "NVIDIA H200, 9.0\nNVIDIA H200, 9.0"


def found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Machine:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    machine.cache_clear()
    try:
        return machine()
    finally:
        machine.cache_clear()


def test_names_and_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    expected = Machine(gpus=2, names=("NVIDIA H200", "NVIDIA H200"), bfloat16=True)
    assert found(TWO, tmp_path, monkeypatch) == expected


@pytest.mark.parametrize(
    ("named", "count"), [("0", 1), ("0,1", 2), ("", 0), ("-1", 0), ("3,4,5", 2)]
)
def test_hidden_gpus_do_not_count(
    named: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert found(TWO, tmp_path, monkeypatch).gpus == count


def test_an_old_card_has_no_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not found("Tesla V100, 7.0", tmp_path, monkeypatch).bfloat16
    assert not found("Old, [N/A]", tmp_path, monkeypatch).bfloat16


def test_a_tool_that_fails_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("No devices were found", tmp_path, monkeypatch, code=6) == Machine()
