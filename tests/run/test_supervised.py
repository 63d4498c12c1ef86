"""Every supervised loss takes the same steps padded or end to end, at once, in parts, on ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swift.method.pt import Pt
from swift.method.sft import Sft
from swift.run.loop import one_step
from swift.run.packing import end_to_end
from swift.seam.collate import Lay, collate
from tests.kit import bare_job, exact_norms, on_ranks, tiny_model, worst
from tests.run.test_packing import placed, sequences

METHODS = {
    "sft": Sft(),
    "dft": Sft(loss="dft"),
    "smooth": Sft(label_smoothing=0.2),
    "pt": Pt(label_smoothing=0.2),
}
CASES = [("dft", "lora"), ("smooth", "lora"), ("smooth", "full"), ("pt", "full")]


def steps(
    folder: str,
    method: str,
    tuner: str,
    strategy: str = "none",
    *,
    flat: bool,
    micro: int = 3,
    neftune: float | None = None,
) -> tuple[list[float], dict[str, Tensor]]:
    """Return losses and weights of two steps of 12 items."""
    exact_norms()
    there = torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if there else 0
    world = torch.distributed.get_world_size() if there else 1
    policy = placed(Path(folder), tuner, strategy, rank=rank, world=world, neftune=neftune)
    job, losses = bare_job(policy, METHODS[method]), []
    if flat:
        laid = end_to_end([policy], sequences(4, seed=99), 0, lambda *a, **k: None)
        assert laid.__enter__()
    torch.manual_seed(3)  # what noise is drawn by
    for step in range(2):
        rows = sequences(12, seed=step)
        whole = [
            collate(rows, range(i, i + micro), Lay(pad_id=0, end_to_end=flat))
            for i in range(0, 12, micro)
        ]
        sums, _, _ = one_step(job, whole[policy.data_rank :: policy.data_world], 1.0)
        losses.append(sums.loss)
    return losses, {n: w.clone() for n, w in policy.weights(trained_only=False)}


def all_steps(folder: str, strategy: str) -> Any:
    return [steps(folder, *case, strategy, flat=True) for case in CASES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.mark.parametrize(("flat", "micro"), [(True, 3), (False, 12), (True, 12)])
@pytest.mark.parametrize(("method", "tuner"), CASES)
def test_the_layout_of_a_step_does_not_matter(
    method: str, tuner: str, flat: bool, micro: int, folder: str
) -> None:
    wanted, expected = steps(folder, method, tuner, flat=False)
    losses, weights = steps(folder, method, tuner, flat=flat, micro=micro)
    assert losses == pytest.approx(wanted, rel=1e-10)
    assert worst(weights, expected) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_two_ranks_take_the_steps_of_one(strategy: str, folder: str) -> None:
    found = on_ranks(all_steps, 2, folder, strategy)[0]
    for case, (losses, weights) in zip(CASES, found, strict=True):
        wanted, expected = steps(folder, *case, flat=False)
        assert losses == pytest.approx(wanted, rel=1e-10), case
        assert worst(weights, expected) < 1e-8, case


# --- noise --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def through_noise(folder: str) -> list[float]:
    return noisy(folder)


def noisy(folder: str, strategy: str = "none") -> list[float]:
    """Return the losses of two steps through noise."""
    return steps(folder, "sft", "lora", strategy, flat=False, neftune=5)[0]


def test_noise_is_the_same_end_to_end(folder: str, through_noise: list[float]) -> None:
    losses, _ = steps(folder, "sft", "lora", flat=True, neftune=5)
    assert losses == pytest.approx(through_noise, rel=1e-10)


def test_noise_moves_the_loss_a_little(folder: str, through_noise: list[float]) -> None:
    quiet, _ = steps(folder, "sft", "lora", flat=False)
    assert through_noise != pytest.approx(quiet, rel=1e-4)
    assert through_noise == pytest.approx(quiet, rel=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_noise_is_laid_in_every_placement(
    strategy: str, folder: str, through_noise: list[float]
) -> None:
    found = on_ranks(noisy, 2, folder, strategy)[0]
    if strategy == "tp":  # a group that shares its rows draws alike
        assert found == pytest.approx(through_noise, rel=1e-10)
    else:
        quiet, _ = steps(folder, "sft", "lora", flat=False)
        assert found != pytest.approx(quiet, rel=1e-4)
        assert found == pytest.approx(quiet, rel=0.5)


def test_passes_without_gradient_meet_no_noise(folder: str) -> None:
    batches = [collate(sequences(3), range(3), Lay(pad_id=0))]
    found = []
    for neftune in (None, 50.0):
        policy = placed(Path(folder), "lora", neftune=neftune)
        (out,) = policy.no_grad(batches, "policy", frozenset({"logp"}))
        found.append(out.logp_N)
    assert torch.equal(*found)
