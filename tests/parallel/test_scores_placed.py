"""A reward model takes the same steps on every placement: its head stands where no plan names it.

In float64, so that what is left are the orders of sums (1e-13) and no mistake can hide.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from swift.dataset.encoded import Encoded
from swift.method.rm import Rm
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Site, strategies
from swift.run.loop import one_step
from swift.run.source import ModelSource
from swift.seam.collate import Lay, collate
from swift.tuner.freeze import Freeze
from swift.tuner.full import Full
from swift.tuner.lora import Lora
from tests.kit import bare_job, exact_norms, on_ranks, tiny_chat_model, worst

TUNERS = {"full": Full(), "lora": Lora(rank=4), "freeze": Freeze(layers=1)}
STEPS, PAIRS = 4, 5


class Trace(NamedTuple):
    losses: list[float]
    norms: list[float]
    weights: dict[str, Tensor]


def trace(strategy: str, world: int, folder: str, tuner: str, rank: int) -> Trace:
    exact_norms()
    facts = read_facts("tiny", Path(folder))
    source = ModelSource(facts, TUNERS[tuner], dtype="float64", seed=7, scored=True)
    site = Site(rank=rank, world=world, dtype="float64")
    policy = strategies.get(strategy)().place(source, "policy", AdamW(), 3e-3, site)
    job = bare_job(policy, Rm(center_weight=0.1))
    lay, losses, norms = Lay(pad_id=0, scored=True), [], []
    for step in range(STEPS):
        cut = [[0, 1], [2], [3, 4], []]  # the last one keeps ranks in step
        batches = [collate(pairs(step), items, lay) for items in cut]
        sums, stepped, _ = one_step(job, batches[policy.data_rank :: policy.data_world], 1.0)
        losses.append(sums.loss)
        norms.append(stepped.norm)
    weights = {n: w.clone() for n, w in policy.weights(trained_only=False)}
    return Trace(losses, norms, weights)


def pairs(seed: int) -> Encoded:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(3, 14, 2 * PAIRS)
    return Encoded(
        ids=draw.integers(3, 128, sizes.sum()).astype(np.int32),
        supervised=np.ones(sizes.sum(), dtype=np.bool_),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=2,
        origins=[""] * PAIRS,
        columns={"margin": draw.normal(size=PAIRS)},
    )


def traces(strategy: str, folder: str) -> dict[str, Trace]:
    """Run on a rank of a spawned world."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return {tuner: trace(strategy, world, folder, tuner, rank) for tuner in TUNERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_chat_model(tmp_path_factory.mktemp("tiny"), kind="qwen2"))


@pytest.fixture(scope="module")
def alone(folder: str) -> dict[str, Trace]:
    return {tuner: trace("none", 1, folder, tuner, 0) for tuner in TUNERS}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_two_ranks_take_the_steps_of_one(
    strategy: str, folder: str, alone: dict[str, Trace]
) -> None:
    first, second = on_ranks(traces, 2, strategy, folder)
    for tuner, expected in alone.items():
        got = first[tuner]
        assert got.losses == second[tuner].losses, tuner
        assert got.losses == pytest.approx(expected.losses, rel=1e-10), tuner
        assert got.norms == pytest.approx(expected.norms, rel=1e-9), tuner
        assert worst(got.weights, expected.weights) < 1e-8, tuner


def test_every_tuner_begins_with_the_same_head(alone: dict[str, Trace]) -> None:
    losses = [alone[tuner].losses[0] for tuner in TUNERS]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


def test_every_tuner_moves_the_head(folder: str, alone: dict[str, Trace]) -> None:
    name = {"lora": "base_model.model.score.weight"}
    first = alone["lora"].weights["score.weight"]  # PEFT keeps the one that it began with
    for tuner, found in alone.items():
        assert (found.weights[name.get(tuner, "score.weight")] - first).abs().max() > 1e-3, tuner
