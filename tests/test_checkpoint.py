"""A checkpoint's state: pieces of any world put together; folders seen whole or not at all."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.checkpoint import State, checkpoints, drop_old, newest, write_state
from swift.core.errors import PlanError
from swift.parallel import Piece

WHOLE = torch.arange(35.0).reshape(7, 5)


def write(folder: Path, cuts: list[int]) -> State:
    """Write WHOLE as one rank a row range."""
    edges = [0, *cuts, 7]
    for rank, (a, b) in enumerate(itertools.pairwise(edges)):
        piece = Piece("weight/w", WHOLE[a:b], (7, 5), (a, 0))
        write_state(folder, rank, [piece], {"rank": rank})
    return State(folder)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 7), max_size=3).map(sorted),
    rows=st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted),
    columns=st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted),
)
def test_another_world_reads_its_own_parts(
    cuts: list[int],
    rows: list[int],
    columns: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    state = write(tmp_path_factory.mktemp("state"), cuts)
    expected = WHOLE[rows[0] : rows[1], columns[0] : columns[1]]
    offset = (rows[0], columns[0])
    found = state.read("weight/w", (expected.shape[0], expected.shape[1]), offset)
    assert torch.equal(found, expected)


def test_ranks_keep_their_plain_values_in_order(tmp_path: Path) -> None:
    assert [p["rank"] for p in write(tmp_path, [2, 4]).plain] == [0, 1, 2]


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="weight/other: the checkpoint's state lacks"):
        write(tmp_path, []).read("weight/other", (1,), (0,))


def test_a_tensor_of_which_a_rank_is_missing_is_not_filled_up(tmp_path: Path) -> None:
    write(tmp_path, [2, 4])
    (tmp_path / "state/rank-1.json").unlink()
    with pytest.raises(PlanError, match="weight/w: the checkpoint's state lacks a part"):
        State(tmp_path).read("weight/w", (7, 5), (0, 0))


def test_only_whole_checkpoints_count_and_the_newest_stay(tmp_path: Path) -> None:
    for name in ("checkpoint-2", "checkpoint-10", "checkpoint-9", "checkpoint-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "swift.json").touch()
    (tmp_path / "checkpoint-11").mkdir()
    (tmp_path / ".checkpoint-12.partial").mkdir()
    assert [p.name for p in checkpoints(tmp_path)] == [
        "checkpoint-2",
        "checkpoint-9",
        "checkpoint-10",
    ]
    assert newest(tmp_path) == tmp_path / "checkpoint-10"
    drop_old(tmp_path, 1)
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-10"]
