"""Every method has one gradient: padded or packed, accumulated or not, on every placement.

That of one process with all rows in one padded micro-batch. In float64, so that what is left are
the orders of sums and no mistake can hide. Adding a method: a row of `cells.OPTIONS`.
"""

from __future__ import annotations

import pytest

from swift.method import methods
from tests.kit import on_ranks, tiny_chat_model, worst
from tests.parallel.cells import CELLS, OPTIONS, WHOLE, Cell, Found, all_found, found

BOUND = 1e-11
"""Largest difference of any number of a gradient, as a share of the gradient's largest number."""

PLACEMENTS = ("none", "ddp", "fsdp", "tp")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Of a policy and of another model, its reference."""
    base = tmp_path_factory.mktemp("models")
    policy, other = (
        tiny_chat_model(base / str(seed), kind="qwen2", seed=seed) for seed in (0, 1)
    )
    return str(policy), str(other)


@pytest.fixture(scope="module")
def expected(folders: tuple[str, str]) -> dict[Cell, Found]:
    """Of each method and tuner: one process, padded rows, one micro-batch."""
    padded = [cell for cell in CELLS if cell.layout == "padded"]
    return {cell: found(cell, "none", folders, WHOLE) for cell in padded}


@pytest.fixture(scope="module", params=PLACEMENTS)
def ranks(
    request: pytest.FixtureRequest, folders: tuple[str, str]
) -> list[dict[Cell, Found]]:
    """Of one placement, what each rank found in every cell: all in one group of processes."""
    if request.param == "none":
        return [all_found("none", folders)]
    return on_ranks(all_found, 2, request.param, folders)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_has_the_padded_gradient_of_one_process(
    cell: Cell, ranks: list[dict[Cell, Found]], expected: dict[Cell, Found]
) -> None:
    wanted = expected[cell._replace(layout="padded")]
    largest = max(float(g.abs().max()) for g in wanted.gradient.values())
    for rank in ranks:
        got = rank[cell]
        assert worst(got.gradient, wanted.gradient) <= BOUND * largest
        assert got.loss == pytest.approx(wanted.loss, rel=1e-12)
        assert got.metrics == pytest.approx(wanted.metrics, rel=1e-11, abs=1e-11)


def test_every_method_stands_in_the_matrix() -> None:
    own = {name for name in methods if methods.get(name).__module__.startswith("swift.")}
    assert own == OPTIONS.keys()


def test_every_trained_weight_has_a_gradient(expected: dict[Cell, Found]) -> None:
    for cell, wanted in expected.items():
        for name, g in wanted.gradient.items():
            assert g.isfinite().all() and g.abs().max() > 0, (cell, name)
