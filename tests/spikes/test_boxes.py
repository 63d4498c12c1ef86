"""A flat share of a tensor stands in a checkpoint as a few boxes, which any world can read."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.checkpoint import State, write_state
from swift.parallel import Piece
from tests.spikes.boxes import boxes

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, shares=st.integers(1, 4))
def test_flat_shares_are_read_back_whole(
    shape: tuple[int, ...], shares: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    whole, size = torch.rand(shape), -(-prod(shape) // shares)
    for rank in range(shares):
        cut = list(boxes(shape, rank * size, min((rank + 1) * size, prod(shape))))
        assert len(cut) <= 2 * len(shape)
        flat = whole.flatten()
        pieces = [
            Piece("weight/w", flat[at : at + prod(part)].reshape(part), shape, offset)
            for part, offset, at in cut
        ]
        write_state(folder, rank, pieces, {})
    assert torch.equal(State(folder).read("weight/w", shape, (0,) * len(shape)), whole)
