"""A run of grpo: what it keeps, and that a kill in the middle of a rollout changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.checkpoint import checkpoints, newest, read_card
from swift.core.events import read_events
from swift.run.rollout.drawn import kept
from swift.run.save import digest_of

RECIPE = """
model: {{id: nano, dtype: float32}}
method: {{name: grpo, group: 4, steps: 2, iterations: 2, max_tokens: 6, beta: 0.02}}
dataset: nano-numbers
reward: [accuracy, "{rewards}:brevity"]
tuner: {tuner}
train:
  batch_size: 8
  micro_batch_size: 4
  max_steps: 11
  learning_rate: 1e-3
  save_every: 3
  keep: 9
  seed: 5
"""
# 2 x 2 steps a rollout: the checkpoints after 3, 6 and 9 steps lie in the middle of one.

REWARDS = """
def brevity(prompts, completions, **columns):
    return [-0.01 * len(turns[-1]["content"]) for turns in completions]
"""


class Place:
    def __init__(self, base: Path, tuner: str) -> None:
        self.base = base
        (base / "mine.py").write_text(REWARDS)
        self.recipe = base / "recipe.yaml"
        self.recipe.write_text(RECIPE.format(tuner=tuner, rewards=base / "mine.py"))

    def start(self, out: str, *more: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-P", "-m", "swift", "grpo", str(self.recipe)]
        return subprocess.Popen(
            [*words, "--output_dir", str(self.base / out), *more],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def finish(self, out: str, *more: str) -> str:
        child = self.start(out, *more)
        _, errors = child.communicate(timeout=240)
        assert child.returncode == 0, errors
        last = newest(self.base / out)
        assert last is not None
        assert read_card(last).step == 11
        return digest_of(last)

    def steps(self, out: str) -> list[dict[str, Any]]:
        return [e for e in read_events(self.base / out / "events.jsonl") if e["event"] == "step"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("grpo"), "{name: lora, dropout: 0.1}")


@pytest.fixture(scope="module")
def whole(place: Place) -> str:
    return place.finish("whole")


def killed(place: Place, out: str, after: Sequence[int]) -> str:
    """Kill a run after so many steps, again and again; return the digest it ends with."""
    for steps in after:
        child = place.start(out)
        events = place.base / out / "events.jsonl"
        while child.poll() is None:
            if events.exists() and place.steps(out) and place.steps(out)[-1]["step"] >= steps:
                child.send_signal(signal.SIGKILL)
        child.communicate()
    digest = place.finish(out)
    resumed = [e for e in read_events(place.base / out / "events.jsonl") if e["event"] == "resume"]
    assert any(e["step"] % 4 for e in resumed)  # in the middle of a rollout
    return digest


@pytest.mark.slow
def test_a_killed_run_ends_as_the_undisturbed_one_to_the_bit(place: Place, whole: str) -> None:
    assert killed(place, "killed", [5, 7]) == whole


@pytest.mark.slow
def test_so_does_one_of_all_weights(tmp_path: Path) -> None:
    place = Place(tmp_path, "full")
    assert killed(place, "killed", [9]) == place.finish("whole")


def test_the_run_folder_keeps_what_was_trained_on(place: Place, whole: str) -> None:
    drawn = kept(place.base / "whole", 1)
    assert len(drawn) == 16
    assert {one.group for one in drawn} == {4, 5, 6, 7}
    for one in drawn:
        assert one.version == 4
        assert len(one.logprobs) == sum(one.own) == len(one.ids) > 0
        assert one.rewards.keys() == {"accuracy", "brevity"}
        assert one.reward == pytest.approx(sum(v for v in one.rewards.values() if v is not None))


def test_what_the_engine_thinks_of_its_tokens_is_what_the_training_thinks(
    place: Place, whole: str
) -> None:
    """In the first step of a rollout no ratio has moved, whatever drew the answers."""
    for step in place.steps("whole"):
        first = (step["step"] - 1) % 4 == 0
        if first:
            assert step["clip_ratio/region_mean"] == 0


def test_steps_tell_of_rewards_and_lengths(place: Place, whole: str) -> None:
    step = place.steps("whole")[-1]
    assert 0 <= step["rewards/accuracy/mean"] <= 1
    assert step["rewards/brevity/mean"] < 0
    assert step["reward"] == pytest.approx(
        step["rewards/accuracy/mean"] + step["rewards/brevity/mean"]
    )
    assert 1 <= step["completions/mean_length"] <= 6
    assert step["kl"] >= 0
    assert step["rollout_seconds"] > 0


def test_another_code_of_a_reward_is_another_run(place: Place, whole: str) -> None:
    mine = place.base / "mine.py"
    before = mine.read_text()
    mine.write_text(before.replace("0.01", "0.02"))
    try:
        child = place.start("whole")
        _, errors = child.communicate(timeout=120)
    finally:
        mine.write_text(before)
    assert child.returncode == 2
    assert "whole" in errors
    assert len(checkpoints(place.base / "whole")) == 4


def test_groups_that_do_not_fit_the_batch_are_a_problem(place: Place) -> None:
    child = place.start("none", "--batch_size", "9", "--micro_batch_size", "3")
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 2
    assert "no multiple of `group`" in errors
    assert "batch_size: 12" in errors
    assert not (place.base / "none").exists()
