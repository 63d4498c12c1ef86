"""A share that is held out: none of its rows is trained on, however often or where they come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.errors import DataError
from swift.dataset.encoded import Block, Encoded, Store
from swift.dataset.held import hold_out
from swift.dataset.report import Report

Row = tuple[str, int]
"""Where a sample comes from, and what it says."""


def encoded(rows: Sequence[Row]) -> Encoded:
    """Return a sample a row, as many tokens long as the number of what it says, and one."""
    store = Store(1)
    sizes = np.array([key + 1 for _, key in rows], dtype=np.int64)
    ids = np.zeros(sizes.sum(), dtype=np.int32)
    origins, keys = [origin for origin, _ in rows], [key for _, key in rows]
    store.add(Block(ids, np.ones(len(ids), dtype=np.bool_), sizes, origins, keys))
    return store.close()


def report_of(made: Encoded, rows: int) -> Report:
    report = Report(rows=rows)
    report.gain(made)
    return report


def said(part: Encoded) -> list[Row]:
    return [(part.origins[i], int(part.lengths[i]) - 1) for i in range(len(part))]


def held(rows: Sequence[Row], share: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    made = encoded(rows)
    train, kept = hold_out(made, share, seed, report_of(made, len(set(rows))), Report())
    return said(train), said(kept)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=60),
    st.floats(0.05, 0.6),
    st.integers(0, 9),
)
def test_no_row_and_nothing_that_is_said_is_on_both_sides(
    drawn: list[tuple[int, int]], share: float, seed: int
) -> None:
    rows = [(f"a.jsonl:{place}", key) for place, key in drawn]
    made = encoded(rows)
    of_train, of_held = report_of(made, len({place for place, _ in drawn})), Report()
    read = of_train.rows
    try:
        train, kept = hold_out(made, share, seed, of_train, of_held)
    except DataError as error:
        assert "leaves none to train on" in str(error)
        return
    for part in (0, 1):
        assert not {row[part] for row in said(train)} & {row[part] for row in said(kept)}
    assert {*said(train), *said(kept)} == set(rows)
    assert len(set(said(kept))) == len(kept) > 0
    again = of_train.counts.get("held-again", 0)
    assert len(train) + len(kept) + again == len(rows)
    assert (of_train.samples, of_held.samples) == (len(train), len(kept))
    assert (of_train.tokens, of_held.tokens) == (train.lengths.sum(), kept.lengths.sum())
    assert (of_train.supervised, of_held.supervised) == (train.trained(), kept.trained())
    assert of_train.rows + of_held.rows == read
    for report, part_ in ((of_train, train), (of_held, kept)):
        lengths, counts = np.unique(part_.lengths, return_counts=True)
        assert report.lengths == dict(zip(lengths.tolist(), counts.tolist(), strict=True))


def test_a_row_that_comes_again_counts_once_in_the_share_and_in_validation() -> None:
    few, many = [(f"a:{i}", i) for i in range(10)], [(f"b:{i}", 50 + i) for i in range(40)]
    train, kept = held([*many, *few * 8], 0.2)
    assert len(kept) == 10  # of 50 rows
    assert not set(train) & set(kept)


def test_rows_that_come_once_are_drawn_as_a_permutation_says() -> None:
    rows = [(f"a:{i}", i) for i in range(50)]
    order = np.random.Generator(np.random.PCG64([7, 1 << 32])).permutation(50)
    train, kept = held(rows, 0.2, seed=7)
    assert kept == [rows[i] for i in sorted(order[:10])]
    assert train == [rows[i] for i in sorted(order[10:])]
    assert held(rows, 0.2, seed=8)[1] != kept


def test_equal_rows_of_several_places_stay_as_many_on_one_side() -> None:
    rows = [(f"a:{i}", i // 2) for i in range(40)]
    train, kept = held(rows, 0.25)
    assert (len(train), len(kept)) == (30, 10)
    assert {key for _, key in kept} & {key for _, key in train} == set()


def test_pieces_of_one_row_are_held_together_and_are_one_row() -> None:
    rows = [(f"a:{i // 3}", i) for i in range(30)]
    made = encoded(rows)
    of_train, of_held = report_of(made, 10), Report()
    _, kept = hold_out(made, 0.2, 0, of_train, of_held)
    assert len({origin for origin, _ in said(kept)}) * 3 == len(kept) == 6
    assert (of_train.rows, of_held.rows) == (8, 2)


def test_a_chain_of_equal_pieces_is_one_group() -> None:
    """Row n shares a piece with row n + 1: all hang together, and none can be held out."""
    rows = [(f"a:{i // 2}", (i + 1) // 2) for i in range(200)]
    with pytest.raises(DataError, match="they say the same, or are of one row"):
        held(rows, 0.2)


def test_groups_that_are_all_too_large_give_the_smallest_and_that_is_said() -> None:
    made = encoded([(f"a:{i}", i % 2) for i in range(11)])
    told: list[str] = []
    _, kept = hold_out(made, 0.1, 0, report_of(made, 11), Report(), say=told.append)
    assert len(kept) == 5
    assert told[0].startswith("a share of 0.1 is 1 of the samples, and 5 are held out: others hang")
    hold_out(made, 0.45, 0, report_of(made, 11), Report(), say=told.append)
    assert len(told) == 1


def test_a_sample_that_was_cut_leaves_the_histogram_once() -> None:
    made = encoded([("a:1", 9), ("a:2", 9), ("a:3", 4)])
    report = report_of(made, 3)
    report.lengths = {5: 1, 12: 1, 40: 1}  # two were cut at 10
    report.lose(made.take([0, 2]))
    assert report.lengths == {40: 1}
