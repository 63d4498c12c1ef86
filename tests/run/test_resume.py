"""A run that is killed, or asked to stop, ends as the undisturbed one does: to the last bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swift.checkpoint import checkpoints, newest, read_card
from swift.core.events import read_events
from swift.run.save import digest_of
from tests.kit import chat_rows, tiny_chat_model

RECIPE = """
model: {{id: {model}, dtype: float32}}
dataset: {data}
tuner: {tuner}
train:
  epochs: 2
  batch_size: 8
  micro_batch_size: 4
  learning_rate: 1e-3
  save_every: 3
  keep: 2
  seed: 5
  neftune: 5
"""
# 52 rows in steps of 8: each epoch ends in a ragged step of 4; 14 steps in all.


class Place:
    """A folder with a model, data and a recipe, and runs in it."""

    def __init__(self, base: Path, tuner: str) -> None:
        self.base = base
        model = tiny_chat_model(base / "model")
        data = chat_rows(base / "rows.jsonl", 52)
        self.recipe = base / "recipe.yaml"
        self.recipe.write_text(RECIPE.format(model=model, data=data, tuner=tuner))

    def command(self, out: str) -> list[str]:
        words = [sys.executable, "-m", "swift", "sft", str(self.recipe)]
        return [*words, "--output_dir", str(self.base / out)]

    def start(self, out: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            self.command(out),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def finish(self, out: str) -> str:
        """Run (or go on) to the end and return the digest of the last checkpoint."""
        child = self.start(out)
        _, errors = child.communicate(timeout=180)
        assert child.returncode == 0, errors
        return self.digest(out)

    def digest(self, out: str) -> str:
        last = newest(self.base / out)
        assert last is not None
        card = read_card(last)
        assert card.step == card.total_steps == 14
        return digest_of(last)


@pytest.fixture(scope="module", params=["{name: lora, dropout: 0.2}", "full"], ids=["lora", "full"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("resume"), request.param)


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> str:
    return place.finish("calm")


def wait_for_steps(folder: Path, steps: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = [e for e in read_events(folder / "events.jsonl") if e["event"] == "step"]
        if len(done) >= steps:
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder} took no {steps} steps in a minute")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_rest_is_the_same(
    place: Place, undisturbed: str, number: signal.Signals
) -> None:
    out = f"asked-{number}"
    child = place.start(out)
    wait_for_steps(place.base / out, 4)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + number, errors
    assert "saved" in errors
    assert newest(place.base / out) is not None
    assert place.finish(out) == undisturbed


@pytest.mark.slow
def test_kill_nine_at_any_time_changes_nothing(place: Place, undisturbed: str) -> None:
    draw = random.Random(11)
    for number in range(3):
        out = f"killed-{number}"
        child = place.start(out)
        wait_for_steps(place.base / out, draw.randint(1, 12))
        time.sleep(draw.random() * 0.05)
        child.kill()
        child.communicate()
        for left in checkpoints(place.base / out):
            read_card(left)  # whatever is seen is whole
        assert place.finish(out) == undisturbed


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(place: Place, undisturbed: str) -> None:
    child = place.start("calm")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "finished" in errors
    assert place.digest("calm") == undisturbed
