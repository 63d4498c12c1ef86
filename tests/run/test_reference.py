"""What a reference says of all rows: once, kept, and the same as in every step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from swift import train_dpo
from swift.core.env import ranks
from swift.core.events import read_events
from swift.plan import resolve
from swift.recipe import read
from swift.run.data import prepare
from swift.run.reference import referred
from swift.run.train import place
from tests.kit import on_ranks, tiny_chat_model

PAIRS = [
    {"prompt": f"which {n}", "chosen": f"tall {n}", "rejected": f"no stone {n}"} for n in range(8)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("reference"))


def run(base: Path, out: Path, once: bool, **more: object) -> tuple[list[float], bool]:
    """Return the losses, and whether the reference was asked beforehand."""
    done = train_dpo(
        str(base), None, PAIRS, output_dir=str(out), max_steps=4, batch_size=4,
        reference_once=once, bucket=False, **more,
    )  # fmt: skip
    asked = any(event["event"] == "reference" for event in read_events(out / "events.jsonl"))
    return [event["loss"] for event in done.history], asked


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_a_reference_asked_once_is_the_one_asked_in_every_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuner: str
) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    always, asked = run(base, tmp_path / "always", False, tuner=tuner)
    assert not asked
    once, asked = run(base, tmp_path / "once", True, tuner=tuner)
    assert asked
    assert once == pytest.approx(always, abs=1e-5)


def test_a_later_run_finds_the_answers_and_makes_damaged_ones_anew(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    first, asked = run(base, tmp_path / "a", True)
    assert asked
    second, asked = run(base, tmp_path / "b", True)
    assert not asked
    (kept,) = (tmp_path / "cache" / "reference").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    third, asked = run(base, tmp_path / "c", True)
    assert asked
    assert first == second == third


def sums(
    base: str, folder: str, tuner: str, strategy: str, world: int
) -> tuple[NDArray[np.float64], int]:
    """Return what a reference says of nine pairs, and how often it was asked; run on each rank."""
    os.environ["SWIFT_CACHE"] = f"{folder}/{tuner}-{strategy}"
    parallel: list[tuple[str, Any]] = [("parallel.strategy", strategy)] if world > 1 else []
    if strategy == "tp":
        parallel = [("tensor_model_parallel_size", world)]
    words: list[tuple[str, Any]] = [("model", base), ("dataset", f"{folder}/pairs.jsonl")]
    words += [("tuner", tuner), ("micro_batch_size", 2), ("batch_size", 8), ("data.packing", False)]
    plan = resolve(read(None, [*words, *parallel], "dpo"), world=world)
    assert plan.strategy == strategy
    events: list[str] = []

    def event(kind: str, **_: object) -> None:
        events.append(kind)

    prepared = prepare(plan, event)
    policy, frozen = place(plan, ranks())
    for _ in range(2):  # the second time it is kept
        known, left = referred(
            plan, prepared, policy, frozen, ranks(), event, end_to_end=plan.end_to_end
        )
        assert not left  # the model itself may go
    return known.train.columns["reference_logp"], events.count("reference")


def on_each(base: str, folder: str) -> dict[tuple[str, str], tuple[NDArray[np.float64], int]]:
    cases = [(tuner, strategy) for tuner in ("lora", "full") for strategy in ("ddp", "fsdp", "tp")]
    return {case: sums(base, folder, *case, 2) for case in cases}


@pytest.mark.slow
def test_two_ranks_answer_as_one(base: Path, tmp_path: Path) -> None:
    """Nine pairs, two a micro-batch: the second rank has a filler at the end."""
    pairs = [*PAIRS, {"prompt": "and", "chosen": "a", "rejected": "some long answer to it"}]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(p)}\n" for p in pairs))
    first, second = on_ranks(on_each, 2, str(base), str(tmp_path))
    alone = {t: sums(str(base), str(tmp_path), t, "none", 1)[0] for t in ("lora", "full")}
    for (tuner, strategy), (got, asked) in first.items():
        assert got.shape == (9, 2)
        assert got == pytest.approx(alone[tuner], abs=1e-4), (tuner, strategy)
        assert (got == second[tuner, strategy][0]).all()
        assert asked == 1
