"""Every placement takes the same steps as one process: losses, true norms, weights.

In float64, so that what is left are the orders of sums (1e-13) and no mistake can hide.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swift.method import Method
from swift.method.dpo import Dpo
from swift.method.sft import Sft
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Placement, Proof, Site, strategies
from swift.run.loop import one_step
from swift.run.source import ModelSource
from swift.seam.types import Batch
from swift.tuner.full import Full
from swift.tuner.lora import Lora
from tests.kit import bare_job, batch, exact_norms, on_ranks, random_rows, tiny_model, worst

METHODS: dict[str, Method] = {"sft": Sft(), "dpo": Dpo(beta=0.5)}
TUNERS = {"full": Full(), "lora": Lora(rank=4)}
CASES = [
    (method, tuner, head)
    for method, tuner, head in itertools.product(METHODS, TUNERS, ("tied", "untied"))
]
STEPS = 5


@dataclass(frozen=True)
class Trace:
    losses: list[float]
    norms: list[float]
    weights: dict[str, Tensor]
    proof: Proof


def micro_batches(method: str, step: int) -> list[Batch]:
    """Four micro-batches of uneven rows; one without a supervised token, at a changing place."""
    made = []
    for i in range(4):
        silent = i == step % 4
        rows = random_rows(4, seed=100 * step + i, supervised=not silent)
        if method == "dpo" and silent:
            made.append(batch([]))
        else:
            made.append(batch(rows))
    return made


def trace(strategy: str, world: int, folder: str, method: str, tuner: str, rank: int) -> Trace:
    exact_norms()
    facts = read_facts("tiny", Path(folder))
    source = ModelSource(facts, TUNERS[tuner], dtype="float64", seed=7)
    site = Site(rank=rank, world=world, dtype="float64")
    place = strategies.get(strategy)().place
    policy = place(source, "policy", AdamW(), 3e-3, site)
    frozen: dict[str, Placement] = {}
    if method == "dpo" and tuner == "full":
        frozen["reference"] = place(source, "reference", None, 0.0, site)
    job = bare_job(policy, METHODS[method], frozen)
    losses, norms = [], []
    for step in range(STEPS):
        mine: Sequence[Batch] = micro_batches(method, step)[policy.data_rank :: policy.data_world]
        sums, stepped, _ = one_step(job, mine, 1.0)
        losses.append(sums.loss)
        norms.append(stepped.norm)
    weights = {n: w.clone() for n, w in policy.weights(trained_only=False)}
    return Trace(losses, norms, weights, policy.proof())


def traces(strategy: str, folders: dict[str, str]) -> dict[tuple[str, str, str], Trace]:
    """Run on a rank of a spawned world."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return {(m, t, h): trace(strategy, world, folders[h], m, t, rank) for m, t, h in CASES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("models")
    return {h: str(tiny_model(base / h, tied=h == "tied")) for h in ("tied", "untied")}


@pytest.fixture(scope="module")
def alone(folders: dict[str, str]) -> dict[tuple[str, str, str], Trace]:
    return {(m, t, h): trace("none", 1, folders[h], m, t, 0) for m, t, h in CASES}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_two_ranks_take_the_steps_of_one(
    strategy: str, folders: dict[str, str], alone: dict[tuple[str, str, str], Trace]
) -> None:
    first, second = on_ranks(traces, 2, strategy, folders)
    for case, expected in alone.items():
        got = first[case]
        assert got.losses == second[case].losses, case
        assert got.losses == pytest.approx(expected.losses, rel=1e-10), case
        assert got.norms == pytest.approx(expected.norms, rel=1e-9), case
        assert worst(got.weights, expected.weights) < 1e-8, case
        check_proof(strategy, got.proof, expected.proof)


def check_proof(strategy: str, got: Proof, alone: Proof) -> None:
    assert got.numel == alone.numel
    assert got.world == 2
    if strategy == "ddp":
        assert (got.wrapper, got.data_world) == ("DistributedDataParallel", 2)
        assert got.local_numel == got.numel
    if strategy == "fsdp":
        assert (got.wrapper, got.data_world) == ("FSDPLogProbs", 2)
        assert got.dtensors == got.tensors
        assert got.local_numel < 0.52 * got.numel
    if strategy == "tp":
        assert got.data_world == 1
        assert got.dtensors > 0.5 * got.tensors
        assert got.local_numel < 0.6 * got.numel


def test_the_steps_do_move_the_weights(alone: dict[tuple[str, str, str], Trace]) -> None:
    for case, expected in alone.items():
        assert expected.losses[-1] != pytest.approx(expected.losses[0], rel=1e-3), case
        assert max(expected.norms) > 1.0 or case[0] == "dpo" or case[1] == "lora", case
