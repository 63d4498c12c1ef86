"""A run goes on on other processes than it began on: the same steps, to the rounding of sums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from swift.core.errors import PlanError
from swift.core.events import read_events
from swift.plan import read_plan
from swift.recipe import read
from swift.run.launch import launch, resume
from tests.kit import chat_rows, tiny_chat_model, worst

pytestmark = pytest.mark.slow

STEPS, KEPT = 6, 2


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of two ddp ranks, at its end."""
    base = tmp_path_factory.mktemp("moved")
    tiny_chat_model(base / "model")
    chat_rows(base / "rows.jsonl", 40)
    said = {
        "model": {"id": str(base / "model"), "dtype": "float32"},
        "dataset": str(base / "rows.jsonl"),
        "tuner": "full",
        "parallel": {"strategy": "ddp", "nproc_per_node": 2},
        "train": {"max_steps": STEPS, "save_every": KEPT, "keep": 9, "batch_size": 8},
        "output_dir": str(base / "calm"),
    }
    (base / "recipe.yaml").write_text(json.dumps(said), encoding="utf-8")
    return launch(read(base / "recipe.yaml")).parent


def killed(calm: Path, name: str) -> Path:
    """Return a copy of the run as if it had been killed after its first checkpoint."""
    folder = calm.parent / name
    shutil.copytree(calm, folder)
    for step in range(2 * KEPT, STEPS + 1, KEPT):
        shutil.rmtree(folder / f"checkpoint-{step}")
    path = folder / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    saved = next(i for i, line in enumerate(lines) if json.loads(line)["event"] == "save")
    path.write_text("".join(lines[: saved + 1]), encoding="utf-8")
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(folder / f"checkpoint-{STEPS}" / "model.safetensors")
    return found


@pytest.mark.parametrize(
    ("parallel", "wanted"),
    [
        ([("nproc_per_node", "1")], ("none", 1)),
        ([("strategy", "fsdp")], ("fsdp", 2)),
        ([("tensor_model_parallel_size", "2"), ("strategy", "auto")], ("tp", 2)),
    ],
)
def test_a_run_of_two_ddp_ranks_goes_on_elsewhere(
    calm: Path, parallel: list[tuple[str, str]], wanted: tuple[str, int]
) -> None:
    folder = killed(calm, wanted[0])
    resume(folder, parallel)
    plan = read_plan(folder)
    assert (plan.strategy, plan.world) == wanted
    began = [e for e in read_events(folder / "events.jsonl") if e["event"] == "resume"]
    assert [(e["step"], e["proof"]["world"]) for e in began] == [(KEPT, wanted[1])]
    assert plan.notes[-1] == f"goes on as {wanted[0]} x {wanted[1]}, after ddp x 2"
    assert read(folder / "recipe.yaml").full() == plan.recipe.full()
    assert worst(weights(folder), weights(calm)) < 1e-5
    before = load_file(folder / f"checkpoint-{KEPT}" / "model.safetensors")
    assert worst(before, weights(calm)) > 1e-4


def test_processes_that_cannot_be_leave_the_plan_alone(calm: Path) -> None:
    folder = killed(calm, "same")
    with pytest.raises(PlanError, match="over 2 of 4 processes is not there yet"):
        resume(folder, [("nproc_per_node", "4"), ("tensor_model_parallel_size", "2")])
    assert (folder / "plan.json").read_bytes() == (calm / "plan.json").read_bytes()
