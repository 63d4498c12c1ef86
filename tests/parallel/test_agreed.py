"""A signal that reached one rank alone ends the run on all of them, after the same step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swift.method.sft import Sft
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Site, strategies
from swift.run.loop import one_step
from swift.run.source import ModelSource
from swift.tuner.full import Full
from tests.kit import bare_job, batch, on_ranks, random_rows, tiny_model


def stops(strategy: str, folder: str) -> list[bool]:
    """Take a step that nobody, rank 0, then rank 1 is asked to stop after; run on a rank."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    source = ModelSource(read_facts("tiny", Path(folder)), Full(), dtype="float64")
    site = Site(rank=rank, world=world, dtype="float64")
    policy = strategies.get(strategy)().place(source, "policy", AdamW(), 1e-3, site)
    job = bare_job(policy, Sft())
    rows = [batch(random_rows(2, seed=0))]
    told = [replace(job, asked_to_stop=[int, lambda: 15][asked == rank]) for asked in (None, 0, 1)]
    return [one_step(each, rows, 1.0)[2] for each in told]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_all_ranks_hear_of_a_signal(strategy: str, tmp_path: Path) -> None:
    folder = str(tiny_model(tmp_path / "tiny"))
    assert on_ranks(stops, 2, strategy, folder) == [[False, True, True]] * 2
