"""Runs whose pairs share their prompts' compute end where padded ones do."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swift import train_dpo, train_kto, train_orpo, train_rm
from swift.core.events import read_events
from swift.method import Method
from swift.method.dpo import Dpo
from swift.method.orpo import Orpo
from swift.plan.value import read_plan
from swift.run.loop import one_step
from swift.run.packing import end_to_end
from swift.seam.collate import Lay, collate
from swift.seam.segments import SEGMENTED
from tests.kit import bare_job, exact_norms, tiny_chat_model, tiny_model, worst
from tests.run.test_packing import placed
from tests.seam.test_shared import pairs

WORDS = ["stone", "river", "tall", "under", "light", "blue"]
ROWS = [
    {
        "prompt": " ".join(WORDS[n % 4 :] * (1 + n % 3)),
        "chosen": " ".join(WORDS[: 1 + n % 5]),
        "rejected": " ".join(WORDS[5 - n % 5 :]) + f" {n}",
    }
    for n in range(20)
]
DOORS = {"dpo": train_dpo, "orpo": train_orpo, "rm": train_rm}
"""With a reference, without one, with a score at the last token."""

NOTE = "answers to one question share its compute, in rows without padding"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("shared"))


def run(door: Any, base: Path, out: Path, **more: object) -> Any:
    """Train on the pairs for two passes, with validation."""
    options: dict[str, Any] = {"epochs": 2, "batch_size": 5, "micro_batch_size": 3, "lr": 1e-3}
    return door(str(base), dataset=ROWS, output_dir=str(out), validation=0.2, **{**options, **more})


def weights(done: Any) -> dict[str, torch.Tensor]:
    (file,) = done.checkpoint.glob("*.safetensors")
    found: dict[str, torch.Tensor] = load_file(file)
    return found


def attention(done: Any) -> str:
    """Return what attended in a run."""
    (start,) = (e for e in read_events(done.run / "events.jsonl") if e["event"] == "start")
    return str(start["attention"])


@pytest.mark.parametrize("method", DOORS)
def test_a_run_ends_in_the_weights_of_a_padded_one(
    method: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    shared = run(DOORS[method], base, tmp_path / "shared")
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "other"))  # its reference is asked too
    padded = run(DOORS[method], base, tmp_path / "padded", padding_free=False)
    assert (attention(shared), attention(padded)) == (SEGMENTED, "sdpa")
    assert [NOTE in read_plan(done.run).notes for done in (shared, padded)] == [True, False]
    for ours, theirs in (
        (shared.history, padded.history),
        (shared.evaluations, padded.evaluations),
    ):
        wanted = [event["loss"] for event in theirs]
        assert [event["loss"] for event in ours] == pytest.approx(wanted, abs=2e-5)
    assert worst(weights(shared), weights(padded)) < 2e-5


def test_answers_one_by_one_and_noise_on_the_input_share_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    for name, door, more in (("kto", train_kto, {}), ("noise", train_dpo, {"neftune": 5.0})):
        done = run(door, base, tmp_path / name, epochs=1, **more)
        assert attention(done) == "sdpa"
        assert NOTE not in read_plan(done.run).notes


@pytest.mark.parametrize("tuner", ["lora", "full"])
@pytest.mark.parametrize("method", [Dpo(beta=0.5), Orpo()], ids=["dpo", "orpo"])
def test_steps_are_padded_steps_to_the_tenth_digit(
    method: Method, tuner: str, tmp_path: Path
) -> None:
    exact_norms()
    folder, found = tiny_model(tmp_path / "tiny"), []
    said = [(list(range(20, 24 + n)), [n, 1, 2], [3, n]) for n in range(12)]
    for flat in (False, True):
        policy = placed(folder, tuner)
        laid = end_to_end([policy], pairs(said), 0, lambda *a, **k: None) if flat else nullcontext()
        with laid:
            job, losses = bare_job(policy, method), []
            for step in range(3):
                lay = Lay(pad_id=0, end_to_end=flat, shared=flat)
                batches = [
                    collate(pairs(said), range(4 * step + n, 4 * step + n + 2), lay) for n in (0, 2)
                ]
                losses.append(one_step(job, batches, 1.0)[0].loss)
        found.append((losses, {n: w.clone() for n, w in policy.weights(trained_only=True)}))
    (wanted, expected), (got, weights) = found
    assert got == pytest.approx(wanted, rel=1e-10)
    assert worst(weights, expected) < 1e-10
