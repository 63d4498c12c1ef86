"""Every method has one gradient: padded or packed, accumulated or not, on every placement.

That of one process with all rows in one padded micro-batch. In float64, so that what is left are
the orders of sums and no mistake can hide. Adding a method: a row of `cells.OPTIONS`.
"""

from __future__ import annotations

from itertools import product

import pytest

from swift.method import methods
from tests.kit import on_ranks, tiny_chat_model, worst
from tests.parallel.cells import (
    ALL,
    CELLS,
    OPTIONS,
    WHOLE,
    Cell,
    Folders,
    FoundCells,
    found,
    found_on_ranks,
)

BOUND = 1e-11
"""Largest difference of any number of a gradient, as a share of the gradient's largest number."""


PADDED = [cell for cell in CELLS if cell.layout == "padded"]
FEW = [cell for cell in CELLS if cell.method == "sft" and cell.case == 0]
"""Cells that are taken with another architecture too."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folders]:
    """Of each architecture a policy and another model, its reference.

    Of a Qwen3's weights, those that norm each head are the same on all ranks that share the heads.
    """
    base = tmp_path_factory.mktemp("models")

    def folder(kind: str, seed: int) -> str:
        return str(tiny_chat_model(base / f"{kind}-{seed}", kind=kind, seed=seed))

    return {kind: (folder(kind, 0), folder(kind, 1)) for kind in ("qwen2", "qwen3")}


@pytest.fixture(scope="module")
def expected(models: dict[str, Folders]) -> FoundCells:
    """Of each method and tuner: one process, padded rows, one micro-batch."""
    return found("none", models["qwen2"], WHOLE, PADDED)


@pytest.fixture(scope="module")
def two_ranks(models: dict[str, Folders]) -> list[dict[tuple[str, str], FoundCells]]:
    """What each of two ranks found; all placements share one group of processes."""
    return on_ranks(found_on_ranks, 2, models["qwen2"], models["qwen3"], FEW)


def check(got: FoundCells, expected: FoundCells, cell: Cell) -> None:
    loss, metrics, gradient = got[cell]
    wanted = expected[cell._replace(layout="padded")]
    largest = max(float(g.abs().max()) for g in wanted.gradient.values())
    assert worst(gradient, wanted.gradient) <= BOUND * largest
    assert loss == pytest.approx(wanted.loss, rel=1e-12)
    assert metrics == pytest.approx(wanted.metrics, rel=1e-11, abs=1e-11)


def test_one_process_accumulates_the_gradient_of_one_micro_batch(
    models: dict[str, Folders], expected: FoundCells
) -> None:
    got = found("none", models["qwen2"], of=ALL)
    for cell in ALL:
        check(got, expected, cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_two_ranks_have_the_padded_gradient_of_one_process(
    strategy: str,
    cell: Cell,
    two_ranks: list[dict[tuple[str, str], FoundCells]],
    expected: FoundCells,
) -> None:
    for rank in two_ranks:
        check(rank["qwen2", strategy], expected, cell)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_so_it_is_with_norms_of_heads(
    strategy: str,
    models: dict[str, Folders],
    two_ranks: list[dict[tuple[str, str], FoundCells]],
) -> None:
    expected = found("none", models["qwen3"], WHOLE, [c for c in FEW if c in PADDED])
    for rank, cell in product(two_ranks, FEW):
        check(rank["qwen3", strategy], expected, cell)


def test_every_method_stands_in_the_matrix() -> None:
    own = {name for name in methods if methods.get(name).__module__.startswith("swift.")}
    assert own == OPTIONS.keys()


def test_every_trained_weight_has_a_gradient(expected: FoundCells) -> None:
    for cell, wanted in expected.items():
        for name, g in wanted.gradient.items():
            assert g.isfinite().all() and g.abs().max() > 0, (cell, name)
