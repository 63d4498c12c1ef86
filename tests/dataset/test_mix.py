"""The order of rows of several data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.errors import DataError
from swift.dataset.mix import mixed, shares, turns

WEIGHTS = st.lists(st.floats(0.01, 100).map(lambda w: round(w, 2)), min_size=1, max_size=6)


def parts(sizes: list[int]) -> list[Callable[[], list[tuple[int, int]]]]:
    return [lambda n=n, size=size: [(n, i) for i in range(size)] for n, size in enumerate(sizes)]  # type: ignore[misc]


@given(st.lists(st.integers(0, 20), max_size=5))
def test_without_weights_every_row_comes_once_part_after_part(sizes: list[int]) -> None:
    rows = list(mixed(parts(sizes)))
    assert rows == [(n, i) for n, size in enumerate(sizes) for i in range(size)]


@given(WEIGHTS, st.integers(1, 300))
def test_at_any_time_each_has_had_its_share_to_within_one_row(weights: list[float], n: int) -> None:
    had: Counter[int] = Counter()
    share = shares(weights)
    assert sum(share) == 1
    for done, number in enumerate(islice(turns(weights), n), 1):
        had[number] += 1
        assert all(abs(had[i] - done * s) < 1 for i, s in enumerate(share))


def test_only_ratios_count_and_decimals_are_meant_as_they_are_written() -> None:
    assert shares([0.1, 0.2]) == shares([1, 2]) == [Fraction(1, 3), Fraction(2, 3)]
    assert list(islice(turns([0.3, 0.7]), 50)) == list(islice(turns([3, 7]), 50))


@given(st.lists(st.integers(0, 30), min_size=2, max_size=4), st.data())
def test_the_first_end_is_the_end_and_no_row_comes_twice(
    sizes: list[int], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    rows = list(mixed(parts(sizes), weights))
    assert len(set(rows)) == len(rows)
    for n in range(len(sizes)):
        mine = [i for part, i in rows if part == n]
        assert mine == list(range(len(mine)))
    following = next(islice(turns(weights), len(rows), None))
    assert Counter(part for part, _ in rows)[following] == sizes[following]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.data())
def test_until_all_have_ended_every_row_comes_and_each_again_is_told(
    sizes: list[int], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    again: Counter[int] = Counter()
    told = lambda part: again.update([part])  # noqa: E731
    rows = list(mixed(parts(sizes), weights, stopping="all_exhausted", on_repeat=told))
    assert set(rows) == {(n, i) for n, size in enumerate(sizes) for i in range(size)}
    counts = Counter(part for part, _ in rows)
    assert all(counts[n] == size + again[n] for n, size in enumerate(sizes))
    assert 0 in [again[n] for n in range(len(sizes))]


def test_parts_that_end_together_are_not_begun_again() -> None:
    rows = list(mixed(parts([30, 10]), [3, 1], stopping="all_exhausted"))
    assert len(rows) == len(set(rows)) == 40


def test_the_order_is_the_same_on_every_machine() -> None:
    assert list(islice(turns([5, 3, 1]), 9)) == [0, 1, 0, 1, 0, 0, 2, 1, 0]


def test_a_weight_without_rows_is_a_mistake() -> None:
    with pytest.raises(DataError, match="number 2 has a weight, and no rows"):
        list(mixed(parts([3, 0]), [1, 1], stopping="all_exhausted"))


@pytest.mark.parametrize("weights", [[0, 1], [-1.0, 2]])
def test_a_weight_is_more_than_nothing(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        next(turns(weights))
