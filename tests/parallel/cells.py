"""A cell of the matrix method x tuner x layout x placement: one step's loss, metrics, gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
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
from swift.run.loop import one_step, with_constants
from swift.run.packing import end_to_end
from swift.run.source import ModelSource
from swift.seam.collate import Lay, collate
from swift.seam.types import Batch, Rows
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
    "grpo": [
        {"steps": 2, "beta": 0.001, "temperature": 0.8, "entropy": True, "epsilon": 0.05},
        {"steps": 2, "beta": 0.1, "variant": "rloo", "average": "length", "delta": 2.0},
        {"steps": 2, "variant": "cispo", "epsilon_high": 1.05, "ratio": "sequence"},
    ],
}
"""Of each method the options that it stands in the matrix with. A method of the registry that is
not here fails the test; one whose rows hold columns that are new has a row in COLUMNS too, and one
whose rows get columns that are in no data (rewards) a row in BESIDE."""

ITEMS = 11
SILENT = 3
"""The item in whose sequences no token is supervised, where answers are."""

CUT = [[0, 1, 2, 4], [SILENT], [], [5, 6, 7, 8, 9, 10]]
"""Uneven micro-batches: of two ranks the first has 4 items and a filler, the second 1 and 6."""

WHOLE = [list(range(ITEMS))]
"""All in one: nothing is accumulated."""

COLUMNS: Mapping[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "margin": lambda draw: np.where(draw.random(ITEMS) < 0.3, np.nan, draw.normal(size=ITEMS)),
    "label": lambda draw: (np.arange(ITEMS) % 3 > 0).astype(np.float64),
    "reward": lambda draw: np.where(np.arange(ITEMS) == 6, np.nan, draw.normal(size=ITEMS)),
    "group": lambda draw: (np.arange(ITEMS) // 4).astype(np.float64),
}
"""Of each column that a method's rows may have, its numbers."""

BESIDE: Mapping[str, tuple[str, ...]] = {"grpo": ("reward", "group")}
"""Of a method the columns that its rows have beside those of `Method.columns`."""


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

    @property
    def model(self) -> tuple[str, bool, float]:
        """Return what its model depends on: tuner, a head of one number, heat."""
        return self.tuner, "score" in self.options.needs, self.options.heat

    def __str__(self) -> str:
        return f"{self.method}{self.case or ''}-{self.tuner}-{self.layout}"


TUNERS = ("full", "lora")
LAYOUTS = ("padded", "packed", "apart")
"""packed: as runs pack, where rows of an item share the prompt. apart: where each has its own, as
noise on inputs wants it."""

ALL = [
    Cell(method, case, tuner, layout)
    for method, options in OPTIONS.items()
    for case in range(len(options))
    for tuner in TUNERS
    for layout in LAYOUTS
]
CELLS = [cell for cell in ALL if cell.layout != "apart"]
"""The matrix; with the others it is taken in one process only."""


class Found(NamedTuple):
    """What a cell gives: all of it over the whole step, on every rank."""

    loss: float
    metrics: dict[str, float]
    """Sums and counts."""
    gradient: dict[str, Tensor]
    """Of every trained weight, whole, by its canonical name."""


Cut = Sequence[Sequence[int]]
Folders = tuple[str, str]
FoundCells = dict[Cell, Found]


class Learnt(Lora):
    """LoRA that has learnt: with B zero A has no gradient, and the policy is its reference."""

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
        """Return what does so in one step, and puts the weights back in the next."""
        return _Gradients([p for group in groups for p in group["params"]], {})


class _Gradients(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Every trained weight has a gradient in every other step, and then none has."""
        for p in self.param_groups[0]["params"]:
            weight, kept = local(p), self.state.pop(p, {})
            if kept:
                assert p.grad is None
                weight.copy_(kept["weight"])
            else:
                self.state[p] = {"weight": weight.clone()}
                weight.copy_(local(p.grad))


def rows(method: Method) -> Encoded:
    """Return items of uneven random sequences, as the method wants them.

    The sequences of an item begin with the same prompt.
    """
    draw = np.random.default_rng(5)
    ids: list[NDArray[np.int64]] = []
    marks: list[NDArray[np.bool_]] = []
    for item in range(ITEMS):
        prompt = draw.integers(3, 128, draw.integers(2, 9))
        for _ in method.sides:
            answer = draw.integers(3, 128, draw.integers(2, 11))
            ids.append(np.concatenate([prompt, answer]))
            learnt = (np.arange(len(ids[-1])) >= len(prompt)) & (item != SILENT)
            marks.append(learnt | (method.supervise == "all"))
    names = (*method.columns, *BESIDE.get(method.name, ()))
    return Encoded(
        ids=np.concatenate(ids).astype(np.int32),
        supervised=np.concatenate(marks),
        offsets=np.cumsum([0, *map(len, ids)]).astype(np.int64),
        sides=len(method.sides),
        origins=[""] * ITEMS,
        columns={name: COLUMNS[name](draw) for name in names},
    )


def batches(method: Method, layout: str, cut: Cut) -> list[Batch]:
    """Return the micro-batches of all ranks."""
    lay = Lay(
        pad_id=0,
        end_to_end=layout != "padded",
        shared=layout == "packed",
        aside=method.aside,
        scored="score" in method.needs,
    )
    return [collate(rows(method), items, lay) for items in cut]


def found(
    strategy: str, folders: Folders, cut: Cut = CUT, of: Sequence[Cell] = CELLS
) -> FoundCells:
    """Take a step of each cell of one placement, on this rank; return what it gives.

    Args:
        strategy: The placement.
        folders: Of the policy, and of the reference of a policy without adapters.
        cut: Items of each micro-batch, over all ranks.
        of: Only these cells.
    """
    exact_norms()
    results: dict[Cell, Found] = {}
    for model in dict.fromkeys(cell.model for cell in of):
        policy, frozen = _placed(*model, strategy, folders)
        mine = [cell for cell in of if cell.model == model]
        for layout in dict.fromkeys(cell.layout for cell in mine):
            cells = [cell for cell in mine if cell.layout == layout]
            with ExitStack() as stack:
                if layout != "padded":
                    models, two = [policy, *frozen.values()], rows(cells[-1].options)
                    assert stack.enter_context(end_to_end(models, two, 0, print))
                results |= {cell: _step(cell, policy, frozen, cut) for cell in cells}
    return results


def _step(cell: Cell, policy: Placement, frozen: Mapping[str, Placement], cut: Cut) -> Found:
    method = cell.options
    mine = batches(method, cell.layout, cut)[policy.data_rank :: policy.data_world]
    if method.scope == "rollout":
        rows = with_constants(method, policy, frozen, mine)
        mine = [replace(b, rows=_since(r)) for b, r in zip(mine, rows, strict=True)]
    sums, _, _ = one_step(bare_job(policy, method, frozen, max_grad_norm=None), mine, 1.0)
    gradient = {name: g.clone() for name, g in policy.weights(trained_only=True)}
    policy.step(None, 1.0)  # the weights come back
    metrics = {
        f"{name} {part}": value
        for name, pair in sums.metrics.items()
        for part, value in zip(("sum", "count"), pair, strict=True)
    }
    return Found(sums.loss, metrics, gradient)


def _since(rows: Rows) -> Rows:
    """Return rows of a rollout as if the policy had moved since, so that ratios are not all 1."""
    old = {n: 1.01 * v for n, v in rows.columns.items() if n == "old_logp_N"}
    return replace(rows, columns={**rows.columns, **old})


def _placed(
    tuner: str, scored: bool, heat: float, strategy: str, folders: Folders
) -> tuple[Placement, dict[str, Placement]]:
    """Return the policy, and frozen models by role."""
    world = torch.distributed.is_initialized()
    site = Site(
        rank=torch.distributed.get_rank() if world else 0,
        world=torch.distributed.get_world_size() if world else 1,
        dtype="float64",
    )
    made: Tuner = Full() if tuner == "full" else Learnt(rank=4)
    own, other = (
        ModelSource(
            read_facts("tiny", Path(folder)),
            made,
            dtype="float64",
            seed=7,
            scored=scored,
            heat=heat,
        )
        for folder in folders
    )
    place = strategies.get(strategy)().place
    policy = place(own, "policy", Gradients(), 1.0, site)
    if scored or tuner == "lora":
        return policy, {}
    return policy, {"reference": place(other, "reference", None, 0.0, site)}


def found_on_ranks(
    folders: Folders, others: Folders, of: Sequence[Cell]
) -> dict[tuple[str, str], FoundCells]:
    """Return what cells give on each placement of several ranks: run on each of them.

    Args:
        folders: Of models with which all cells are taken.
        others: Of models of another architecture.
        of: The cells that are taken with them.
    """
    return {
        (architecture, strategy): found(strategy, pair, of=cells)
        for architecture, pair, cells in (("qwen2", folders, CELLS), ("qwen3", others, of))
        for strategy in ("ddp", "fsdp", "tp")
    }
