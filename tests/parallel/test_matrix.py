"""Every method has one gradient: padded or packed, accumulated or not, on every placement.

That of one process with all rows in one padded micro-batch. In float64, so that what is left are
the orders of sums and no mistake can hide. Adding a method: a row of `cells.OPTIONS`.
"""

from __future__ import annotations

import pytest

from swift.method import methods
from tests.kit import on_ranks, tiny_chat_model, worst
from tests.parallel.cells import (
    CELLS,
    CUT,
    LAYOUTS,
    OPTIONS,
    WHOLE,
    Cell,
    FoundCells,
    found,
    found_on_ranks,
)

BOUND = 1e-11
"""Largest difference of any number of a gradient, as a share of the gradient's largest number."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Of a policy and of another model, its reference."""
    base = tmp_path_factory.mktemp("models")
    policy, other = (tiny_chat_model(base / str(seed), kind="qwen2", seed=seed) for seed in (0, 1))
    return str(policy), str(other)


@pytest.fixture(scope="module")
def expected(folders: tuple[str, str]) -> FoundCells:
    """Of each method and tuner: one process, padded rows, one micro-batch."""
    return found("none", folders, WHOLE, ["padded"])


@pytest.fixture(scope="module")
def two_ranks(folders: tuple[str, str]) -> list[dict[str, FoundCells]]:
    """What each of two ranks found; all placements share one group of processes."""
    return on_ranks(found_on_ranks, 2, folders)


def check(got: FoundCells, expected: FoundCells, cell: Cell) -> None:
    loss, metrics, gradient = got[cell]
    wanted = expected[cell._replace(layout="padded")]
    largest = max(float(g.abs().max()) for g in wanted.gradient.values())
    assert worst(gradient, wanted.gradient) <= BOUND * largest
    assert loss == pytest.approx(wanted.loss, rel=1e-12)
    assert metrics == pytest.approx(wanted.metrics, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_process_accumulates_the_gradient_of_one_micro_batch(
    layout: str, folders: tuple[str, str], expected: FoundCells
) -> None:
    got = found("none", folders, CUT, [layout])
    for cell in got:
        check(got, expected, cell)


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_two_ranks_have_the_padded_gradient_of_one_process(
    strategy: str, cell: Cell, two_ranks: list[dict[str, FoundCells]], expected: FoundCells
) -> None:
    for rank in two_ranks:
        check(rank[strategy], expected, cell)


def test_every_method_stands_in_the_matrix() -> None:
    own = {name for name in methods if methods.get(name).__module__.startswith("swift.")}
    assert own == OPTIONS.keys()


def test_every_trained_weight_has_a_gradient(expected: FoundCells) -> None:
    for cell, wanted in expected.items():
        for name, g in wanted.gradient.items():
            assert g.isfinite().all() and g.abs().max() > 0, (cell, name)
