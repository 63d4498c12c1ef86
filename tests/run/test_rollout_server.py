"""A run whose answers are drawn by a server: the same run, also when the server dies in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serve.live import Process, ask

pytestmark = pytest.mark.slow

RECIPE = """
model: {{id: nano, dtype: float32}}
method: {{name: grpo, group: 4, steps: 2, iterations: 2, max_tokens: 6}}
dataset: nano-numbers
reward: [accuracy, "{base}/mine.py:brevity"]
tuner: full
train: {{batch_size: 8, micro_batch_size: 4, max_steps: 9, learning_rate: 1e-3, seed: 5}}
"""
# 2 x 2 steps a rollout: the server gets weights before steps 1, 5 and 9.

REWARDS = """
def brevity(prompts, completions, **columns):
    return [-0.01 * len(turns[-1]["content"]) for turns in completions]
"""


def start(base: Path, out: str, *more: str) -> subprocess.Popen[str]:
    (base / "mine.py").write_text(REWARDS)
    (base / "recipe.yaml").write_text(RECIPE.format(base=base))
    words = [sys.executable, "-P", "-m", "swift", "grpo", str(base / "recipe.yaml")]
    return subprocess.Popen(
        [*words, "--output_dir", str(base / out), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def done(run: subprocess.Popen[str]) -> str:
    said = run.communicate(timeout=300)[1]
    assert run.returncode == 0, said
    return said


def weights(folder: Path) -> bytes:
    (file,) = (folder / "checkpoint-9").glob("*.safetensors")
    return file.read_bytes()


def test_a_server_killed_in_the_run_is_named_and_the_run_ends_as_without_it(tmp_path: Path) -> None:
    done(start(tmp_path, "here"))
    with Process("nano", "--port", "0", "--sync") as server:
        port = server.port
        url = f"http://127.0.0.1:{port}"
        run = start(tmp_path, "there", "--engine.name", "server", "--engine.url", url)
        while run.poll() is None and ask(port, "/health")[1]["version"] < 4:
            time.sleep(0.02)  # until the second rollout begins
        server.child.kill()
        server.child.wait()
    with Process("nano", "--port", str(port), "--sync"):
        said = done(run)
    assert f"warning: the server {url} " in said
    assert weights(tmp_path / "here") == weights(tmp_path / "there")
