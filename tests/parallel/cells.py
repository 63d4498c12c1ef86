"""A cell of the matrix method x tuner x layout x placement: one step's loss, metrics, gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from swift.dataset.encoded import Encoded
from swift.method import Method, methods
from swift.model.facts import read_facts
from swift.optimizer import Optimizer
from swift.parallel import Placement, Site, strategies
from swift.parallel._fill import local
from swift.run.loop import one_step
from swift.run.packing import end_to_end
from swift.run.source import ModelSource
from swift.seam.collate import Lay, collate
from swift.seam.types import Batch
from swift.tuner import Tuner
from swift.tuner.full import Full
from swift.tuner.lora import Lora
from tests.kit import bare_job, exact_norms

OPTIONS: Mapping[str, Sequence[dict[str, Any]]] = {
    "pt": [{}],
    "sft": [{}, {"loss": "dft"}, {"label_smoothing": 0.1}],
    "rm": [{"center_weight": 0.1}],
    "dpo": [
        {"beta": 0.5},
        {
            "loss": {
                **dict.fromkeys(("sigmoid", "sigmoid_norm", "hinge", "ipo", "robust"), 1.0),
                **dict.fromkeys(("sppo", "exo", "nca", "bco", "apo_zero", "apo_down"), 0.5),
            },
            "label_smoothing": 0.1,
            "sft_weight": 0.3,
        },
    ],
    "kto": [{"desirable_weight": 1.5}, {"loss": "apo_zero"}],
    "orpo": [{"beta": 0.5}],
    "cpo": [{"sft_weight": 0.5}],
    "simpo": [{"sft_weight": 0.5}],
}
"""Of each method the options that it stands in the matrix with. A method of the registry that is
not here fails the test; one whose rows hold columns that are new has a row in COLUMNS too."""

ITEMS = 11
SILENT = 3
"""The item in whose sequences no token is supervised, where answers are."""

CUT = [[0, 1, 2], [SILENT], [4, 5, 6, 7], [8, 9], [10], []]
"""Uneven micro-batches; with two ranks the first has 8 items and the second 3, and a filler."""

WHOLE = [list(range(ITEMS))]
"""All in one: nothing is accumulated."""

COLUMNS: Mapping[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "margin": lambda draw: np.where(draw.random(ITEMS) < 0.3, np.nan, draw.normal(size=ITEMS)),
    "label": lambda draw: (np.arange(ITEMS) % 3 > 0).astype(np.float64),
}
"""Of each column that a method may ask for, its numbers."""


class Cell(NamedTuple):
    method: str
    case: int
    """Which of the method's options."""
    tuner: str
    layout: str

    @property
    def options(self) -> Method:
        """Return the method."""
        return methods.get(self.method).model_validate(OPTIONS[self.method][self.case])

    def __str__(self) -> str:
        return f"{self.method}{self.case or ''}-{self.tuner}-{self.layout}"


TUNERS, LAYOUTS = ("full", "lora"), ("padded", "packed")
CELLS = [
    Cell(method, case, tuner, layout)
    for method, options in OPTIONS.items()
    for case in range(len(options))
    for tuner in TUNERS
    for layout in LAYOUTS
]


class Found(NamedTuple):
    """What a cell gives: all of it over the whole step, on every rank."""

    loss: float
    metrics: dict[str, float]
    """Sums and counts."""
    gradient: dict[str, Tensor]
    """Of every trained weight, whole, by its canonical name."""


class Learnt(Lora):
    """LoRA that has learnt: with a B of zero A has no gradient, and DPO's policy is its reference."""

    def initial(self, name: str, like: Tensor, random: Generator) -> Tensor | None:
        """Return small random numbers for A and B alike."""
        if ".lora_" not in name:
            return super().initial(name, like, random)
        return torch.empty(like.shape).normal_(0, 0.2, generator=random)


class Gradients(Optimizer):
    """Puts each gradient in its weight's place, so that a placement streams gradients, whole."""

    def build(
        self, groups: Sequence[dict[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Return what does so in its first step."""
        return _Gradients([p for group in groups for p in group["params"]], {})


class _Gradients(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Every trained weight has a gradient by now."""
        for p in self.param_groups[0]["params"]:
            local(p).copy_(local(p.grad))


def rows(method: Method) -> Encoded:
    """Return items of uneven random sequences, as the method wants them."""
    draw = np.random.default_rng(5)
    sides = len(method.sides)
    sizes = draw.integers(4, 20, ITEMS * sides)
    everything = method.supervise == "all"
    marks = [
        (np.arange(size) >= size // 2) & (number // sides != SILENT) | everything
        for number, size in enumerate(sizes)
    ]
    return Encoded(
        ids=draw.integers(3, 128, sizes.sum()).astype(np.int32),
        supervised=np.concatenate(marks),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=sides,
        origins=[""] * ITEMS,
        columns={name: COLUMNS[name](draw) for name in method.columns},
    )


def batches(method: Method, layout: str, cut: Iterable[Sequence[int]]) -> list[Batch]:
    """Return the micro-batches of all ranks."""
    lay = Lay(
        pad_id=0,
        end_to_end=layout == "packed",
        aside=method.aside,
        scored="score" in method.needs,
    )
    return [collate(rows(method), items, lay) for items in cut]


def found(cell: Cell, strategy: str, folders: tuple[str, str], cut: list[list[int]]) -> Found:
    """Take one step of a cell on this rank, and return what it gives.

    Args:
        cell: What to do.
        strategy: Where.
        folders: Of the policy, and of the reference of a policy without adapters.
        cut: Items of each micro-batch, over all ranks.
    """
    exact_norms()
    method = cell.options
    policy, frozen = _placed(cell, strategy, folders)
    job = bare_job(policy, method, frozen, max_grad_norm=None)
    with ExitStack() as stack:
        if cell.layout == "packed":
            models = [policy, *frozen.values()]
            assert stack.enter_context(end_to_end(models, rows(method), 0, print))
        mine = batches(method, cell.layout, cut)[policy.data_rank :: policy.data_world]
        sums, _, _ = one_step(job, mine, 1.0)
    metrics = {
        f"{name} {part}": value
        for name, pair in sums.metrics.items()
        for part, value in zip(("sum", "count"), pair, strict=True)
    }
    gradient = {name: g.clone() for name, g in policy.weights(trained_only=True)}
    return Found(sums.loss, metrics, gradient)


def _placed(
    cell: Cell, strategy: str, folders: tuple[str, str]
) -> tuple[Placement, dict[str, Placement]]:
    """Return the policy, and frozen models by role."""
    method, world = cell.options, torch.distributed.is_initialized()
    site = Site(
        rank=torch.distributed.get_rank() if world else 0,
        world=torch.distributed.get_world_size() if world else 1,
        dtype="float64",
    )
    tuner: Tuner = Full() if cell.tuner == "full" else Learnt(rank=4)
    place = strategies.get(strategy)().place
    own, other = (
        ModelSource(
            read_facts("tiny", Path(folder)),
            tuner,
            dtype="float64",
            seed=7,
            scored="score" in method.needs,
        )
        for folder in folders
    )
    policy = place(own, "policy", Gradients(), 1.0, site)
    roles = {wanted.role for wanted in method.passes.values()} - {"policy"}
    if cell.tuner == "lora":
        return policy, {}
    return policy, {role: place(other, role, None, 0.0, site) for role in sorted(roles)}


def all_found(strategy: str, folders: tuple[str, str]) -> dict[Cell, Found]:
    """Return what every cell gives on this placement, on this rank."""
    return {cell: found(cell, strategy, folders, CUT) for cell in CELLS}
