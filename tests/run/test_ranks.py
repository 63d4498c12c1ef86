"""Several processes from one command: the same run, killed or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from swift.checkpoint import newest
from swift.core.events import read_events
from swift.run.save import digest_of
from tests.kit import chat_rows, tiny_chat_model

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(base: Path, out: str, *options: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "swift", "sft", "--model", str(base / "model")]
    words += ["--dataset", str(base / "rows.jsonl"), "--output_dir", str(base / out)]
    words += ["--tuner", "{name: lora, dropout: 0.1}", "--max_steps", "12", "--save_every", "4"]
    return subprocess.Popen([*words, *options], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def finish(base: Path, out: str, *options: str) -> str:
    child = start(base, out, *options)
    _, errors = child.communicate(timeout=200)
    log = base / out / "launch.log"
    assert child.returncode == 0, errors + (log.read_text() if log.exists() else "")
    return errors


def steps(folder: Path) -> list[dict[str, Any]]:
    return [e for e in read_events(folder / "events.jsonl") if e["event"] == "step"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "rows.jsonl", 60)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_an_interrupted_run_of_two_ranks_ends_as_the_undisturbed_one(
    base: Path, strategy: str
) -> None:
    options = ("--parallel", f"{{strategy: {strategy}, nproc_per_node: 2}}")
    finish(base, f"{strategy}-calm", *options)
    child = start(base, f"{strategy}-asked", *options)
    deadline = time.monotonic() + 90
    while len(steps(base / f"{strategy}-asked")) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=90)
    assert child.returncode in (0, 130), errors
    if child.returncode == 130:
        assert "go on" in finish(base, f"{strategy}-asked", *options) + errors
    calm, asked = (newest(base / f"{strategy}-{name}") for name in ("calm", "asked"))
    assert calm is not None
    assert asked is not None
    assert digest_of(calm) == digest_of(asked)


@pytest.mark.slow
def test_the_proof_of_what_ran_is_an_event(base: Path) -> None:
    finish(base, "proof", "--nproc_per_node", "2", "--tensor_model_parallel_size", "2")
    events = list(read_events(base / "proof" / "events.jsonl"))
    proof = next(e for e in events if e["event"] == "start")["proof"]
    assert (proof["world"], proof["data_world"]) == (2, 1)
    assert proof["dtensors"] > 0
    plan = json.loads((base / "proof" / "plan.json").read_text())
    assert (plan["strategy"], plan["world"]) == ("tp", 2)


@pytest.mark.slow
def test_a_mistake_in_the_data_comes_back_from_the_ranks(base: Path) -> None:
    child = start(base, "bad", "--nproc_per_node", "2", "--data.max_length", "2")
    _, errors = child.communicate(timeout=90)
    assert child.returncode == 2, errors
    assert "no-supervised-token: 60" in errors


@pytest.mark.slow
def test_a_second_process_does_not_touch_a_run_at_work(base: Path) -> None:
    first = start(base, "twice")
    deadline = time.monotonic() + 60
    while not steps(base / "twice") and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    second = start(base, "twice")
    _, errors = second.communicate(timeout=60)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=60)
    assert second.returncode == 3, errors
    assert f"process {first.pid} is at work" in errors
    assert first.returncode == 0
