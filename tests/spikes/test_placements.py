"""Engines that swift does not ship fit behind Placement: they take the steps of one process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swift.method import Method
from swift.method.dpo import Dpo
from swift.method.sft import Sft
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Piece, Placement, Proof, Site
from swift.parallel._fill import slices
from swift.parallel._torch import TorchPlacement
from swift.run.loop import one_step
from swift.run.source import ModelSource
from swift.seam.types import Batch
from swift.tuner.full import Full
from tests.kit import bare_job, batch, exact_norms, on_ranks, random_rows, tiny_model, worst

pytestmark = pytest.mark.slow

STEPS = 3
CASES = [(m, head) for m in ("sft", "dpo", "dpo-once") for head in ("tied", "untied")]
"""dpo asks its reference in every step; dpo-once has asked before the first, and let it go."""

Traces = dict[tuple[str, str], "Trace"]


@dataclass(frozen=True)
class Trace:
    losses: list[float]
    norms: list[float]
    metrics: list[dict[str, tuple[float, float]]]
    weights: dict[str, Tensor]
    pieces: list[Piece]
    """The state after the last step but one."""
    proof: Proof


def micro_batches(method: str, step: int) -> list[Batch]:
    """Four of uneven rows and shapes; one without a supervised token, at a changing place."""
    made = []
    for i in range(4):
        silent = i == step % 4
        rows = random_rows(4 - 2 * (i % 2), seed=100 * step + i, supervised=not silent)
        made.append(batch([]) if silent and method != "sft" else batch(rows))
    return made


def kind(name: str) -> type[TorchPlacement]:
    """Return a class of placements by "module:class"."""
    module, _, member = name.partition(":")
    found: type[TorchPlacement] = getattr(importlib.import_module(module), member)
    return found


def trace(
    placed: str, dtype: str, world: int, rank: int, folder: str, method: str, start: Trace | None
) -> Trace:
    exact_norms()
    source = ModelSource(read_facts("tiny", Path(folder)), Full(), dtype=dtype)
    site, place = Site(rank=rank, world=world, dtype=dtype), kind(placed)
    policy = place(source, "policy", AdamW(), 3e-3, site)
    chosen: Method = Sft() if method == "sft" else Dpo(beta=0.5)
    frozen: dict[str, Placement] = {}
    if method != "sft":
        frozen["reference"] = place(source, "reference", None, 0.0, site)
    steps = [
        micro_batches(method, step)[policy.data_rank :: policy.data_world] for step in range(STEPS)
    ]
    if method == "dpo-once":
        steps, frozen = [answered(frozen["reference"], mine) for mine in steps], {}
    job = bare_job(policy, chosen, frozen)
    losses, norms, metrics, pieces = [], [], [], []
    if start is not None:
        policy.load(together(start.pieces))
    for number in range(STEPS - 1 if start is not None else 0, STEPS):
        if number == STEPS - 1:
            pieces = [p._replace(tensor=p.tensor.clone()) for p in policy.state()]
        sums, stepped, _ = one_step(job, steps[number], 1.0)
        losses.append(sums.loss)
        norms.append(stepped.norm)
        metrics.append(dict(sums.metrics))
    weights = {n: w.clone() for n, w in policy.weights(trained_only=True)}
    return Trace(losses, norms, metrics, weights, pieces, policy.proof())


def answered(owner: Placement, mine: Sequence[Batch]) -> list[Batch]:
    """Return batches with what the reference says of them."""
    outs = owner.no_grad(mine, "reference", frozenset({"logp"}))
    return [
        replace(b, rows=replace(b.rows, columns={"reference_logp_B": b.rows.per_row(out.logp_N)}))
        for b, out in zip(mine, outs, strict=True)
    ]


class together:  # noqa: N801
    """Reads from the pieces of all ranks, as `checkpoint.State` does."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._whole = {p.name: torch.full(p.shape, torch.nan, dtype=p.tensor.dtype) for p in pieces}
        for p in pieces:
            self._whole[p.name][tuple(slices(p.tensor.shape, p.offset))] = p.tensor

    def __call__(self, name: str, shape: tuple[int, ...], offset: tuple[int, ...]) -> Tensor:
        return self._whole[name][tuple(slices(shape, offset))]


def traces(placed: str, dtype: str, folders: dict[str, str]) -> Traces:
    """Run on a rank of a spawned world."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return {(m, h): trace(placed, dtype, world, rank, folders[h], m, None) for m, h in CASES}


ONE = "swift.parallel._torch:TorchPlacement"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("models")
    return {h: str(tiny_model(base / h, tied=h == "tied")) for h in ("tied", "untied")}


def alone(dtype: str, folders: dict[str, str]) -> Traces:
    return {(m, h): trace(ONE, dtype, 1, 0, folders[h], m, None) for m, h in CASES}


def near(got: Trace, expected: Trace, tolerance: float) -> None:
    assert got.losses == pytest.approx(expected.losses, rel=tolerance)
    assert got.norms == pytest.approx(expected.norms, rel=tolerance)
    for step, metrics in zip(got.metrics, expected.metrics, strict=True):
        assert step.keys() == metrics.keys()
        for name, pair in step.items():
            assert pair == pytest.approx(metrics[name], rel=tolerance, abs=tolerance), name
    assert worst(got.weights, expected.weights) < tolerance


def gone_on(placed: str, dtype: str, folders: dict[str, str], starts: Traces) -> Traces:
    """Take the last step from the state of another world: on a rank, or alone."""
    ranks = torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if ranks else 0
    world = torch.distributed.get_world_size() if ranks else 1
    return {
        (m, h): trace(placed, dtype, world, rank, folders[h], m, start)
        for (m, h), start in starts.items()
    }


def check(
    placed: str, dtype: str, folders: dict[str, str], tolerance: float
) -> tuple[Proof, Proof]:
    """Two ranks take the steps of one, and each world goes on from the other's state."""
    expected = alone(dtype, folders)
    first, second = on_ranks(traces, 2, placed, dtype, folders)
    starts = {}
    for case, one in expected.items():
        near(first[case], one, tolerance)
        near(second[case], first[case], 1e-15 if dtype == "float64" else 1e-7)
        starts[case] = replace(one, pieces=first[case].pieces + second[case].pieces)
    for case, last in gone_on(ONE, dtype, folders, starts).items():
        assert worst(last.weights, expected[case].weights) < tolerance
    few = {case: expected[case] for case in (("sft", "tied"), ("dpo", "untied"))}
    for case, last in on_ranks(gone_on, 2, placed, dtype, folders, few)[1].items():
        assert worst(last.weights, expected[case].weights) < tolerance
    return first["sft", "tied"].proof, second["sft", "tied"].proof


def test_two_stages_take_the_steps_of_one_process(folders: dict[str, str]) -> None:
    proofs = check("tests.spikes._pipeline:PipelinePlacement", "float64", folders, 1e-9)
    assert proofs[0].numel == proofs[1].numel == numel(folders)
    assert max(p.local_numel for p in proofs) < 0.75 * numel(folders)


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="an environment of its own")
def test_zero3_takes_the_steps_of_one_process(folders: dict[str, str]) -> None:
    proof, _ = check("tests.spikes._zero3:Zero3Placement", "float32", folders, 1e-4)
    assert (proof.wrapper, proof.data_world) == ("DeepSpeedEngine", 2)
    assert proof.numel == numel(folders)
    assert proof.local_numel < 0.52 * proof.numel


def numel(folders: dict[str, str]) -> int:
    """Weights of the tied model, as one process has them."""
    source = ModelSource(read_facts("tiny", Path(folders["tied"])), Full(), dtype="float32")
    return TorchPlacement(source, "policy", None, 0.0, Site()).proof().numel
