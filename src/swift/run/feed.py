"""A plan's encoded rows as the micro-batches of each step, on this rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from swift.chat.tokenize import Tokenizer
from swift.checkpoint import Card, read_card
from swift.core.errors import PlanError, Problem
from swift.dataset.batches import Schedule
from swift.dataset.packs import packs
from swift.seam.collate import Lay, collate
from swift.seam.types import Batch
from swift.seam.weighing import Rule, rules_of

if TYPE_CHECKING:
    from swift.dataset.encoded import Encoded
    from swift.parallel import Piece, Placement
    from swift.plan import Plan
    from swift.run.data import Prepared
    from swift.run.rollout.feed import RolloutFeed
    from swift.run.streamed import StreamFeed

    AnyFeed: TypeAlias = "RunFeed | StreamFeed | RolloutFeed"


class Laid:
    """Encoded rows, laid out for steps: a pure function of the step's number.

    A step counts samples, or with packing packs of them: the schedule knows lengths alone.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Encoded,
        lay: Lay,
        placement: Placement,
        *,
        epochs: float,
        max_steps: int | None = None,
        window: int = 0,
    ) -> None:
        """Lay out `rows`; of a stream, those of its `window`, which have an order of their own."""
        options, sizes = plan.recipe.train, plan.sizes
        self._rows, self._lay = rows, lay
        self._rank = placement.data_rank
        lengths = rows.lengths
        self._packs: list[list[int]] | None = None
        if plan.recipe.data.packing:
            self._packs = packs(lengths, plan.room * rows.sides)
            lengths = np.array([lengths[pack].sum() for pack in self._packs])
        self.schedule = Schedule(
            lengths=lengths,
            batch_size=sizes.batch,
            micro_batch_size=sizes.micro,
            data_world=placement.data_world,
            seed=options.seed + (window << 32),
            shuffle=plan.recipe.data.shuffle,
            bucket=plan.recipe.data.bucket,
            epochs=epochs,
            max_steps=max_steps,
        )

    def step(self, number: int) -> list[Batch]:
        """Return this rank's micro-batches of a step."""
        mine = self.schedule.step(number)[self._rank]
        return [collate(self._rows, self._samples(items), self._lay) for items in mine]

    def size(self, number: int) -> tuple[int, int]:
        """Return (samples, tokens) of a step, over all ranks."""
        items = self.schedule.samples(number)
        return len(self._samples(items.tolist())), int(self.schedule.lengths[items].sum())

    def _samples(self, items: Sequence[int]) -> Sequence[int]:
        """Return the samples of what the schedule counts."""
        if self._packs is None:
            return items
        return [sample for item in items for sample in self._packs[item]]


def lay_of(plan: Plan, pad_id: int, *, end_to_end: bool) -> Lay:
    """Return how a plan's method wants micro-batches laid out."""
    method = plan.recipe.method
    return Lay(
        pad_id=pad_id,
        end_to_end=end_to_end,
        shared=end_to_end and plan.shared,
        aside=method.aside,
        scored="score" in method.needs,
        rules=weighing(plan),
    )


def weighing(plan: Plan) -> tuple[Rule, ...]:
    """Return what some tokens weigh in the method's mean."""
    said = plan.recipe.method.weighed
    return rules_of(said, Tokenizer.load(plan.model.voice)) if said else ()


def held_out(plan: Plan, held: Encoded | None, lay: Lay, placement: Placement) -> list[list[Batch]]:
    """Return this rank's validation batches, longest first; every rank has equally many."""
    if held is None:
        return []
    order, micro = np.argsort(-held.lengths, kind="stable").tolist(), plan.sizes.micro
    world, rank = placement.data_world, placement.data_rank
    cut = [order[i : i + micro] for i in range(0, len(order), micro)]
    cut += [[] for _ in range(math.ceil(len(cut) / world) * world - len(cut))]
    return [[collate(held, items, lay)] for items in cut[rank::world]]


class RunFeed:
    """The Feed of a plan on this rank: all rows are there from the beginning."""

    def __init__(
        self, plan: Plan, prepared: Prepared, placement: Placement, *, end_to_end: bool = False
    ) -> None:
        """Lay the samples of a micro-batch `end_to_end` in one row, or each in a padded one."""
        train, lay = plan.recipe.train, lay_of(plan, prepared.pad_id, end_to_end=end_to_end)
        self._laid = Laid(
            plan,
            prepared.train,
            lay,
            placement,
            epochs=train.epochs,
            max_steps=train.max_steps,
        )
        self.total = self._laid.schedule.total_steps
        self._validation = held_out(plan, prepared.validation, lay, placement)

    def step(self, number: int) -> list[Batch]:
        """Return this rank's micro-batches of a step."""
        return self._laid.step(number)

    def size(self, number: int) -> tuple[int, int]:
        """Return (samples, tokens) of a step, over all ranks."""
        return self._laid.size(number)

    def epoch(self, number: int) -> float:
        """Return the passes over the data done after a step."""
        return self._laid.schedule.epoch(number)

    def validation(self) -> list[list[Batch]]:
        """Return this rank's validation batches, longest first."""
        return self._validation

    def told(self, number: int) -> Mapping[str, float]:
        """Return what else there is to be told of a step: nothing."""
        return {}

    def position(self, done: int) -> None:
        """Return what a checkpoint must know of the data after `done` steps: nothing more."""

    def pieces(self, done: int) -> Sequence[Piece]:
        """Return tensors that a checkpoint must hold after `done` steps: none."""
        return ()

    def go_on(self, card: Card, checkpoint: Path) -> None:
        """Continue from a checkpoint: a step is a function of its number."""


def begin_at(feed: AnyFeed, checkpoint: Path, prepared: Prepared) -> int:
    """Let the feed go on from `checkpoint`, and return the steps done there.

    Raises:
        PlanError: Data or template are not what the checkpoint was trained on.
    """
    card = read_card(checkpoint)
    problems = [
        Problem(
            where=str(checkpoint),
            what=f"the {what} changed since this checkpoint ({before} is now {now})",
            fix="bring back what it was, or start a new run",
        )
        for what, before, now in (
            ("data", card.data, prepared.fingerprint),
            ("chat template", card.template, prepared.template),
            ("number of steps", card.total_steps, feed.total),
        )
        if before != now
    ]
    if problems:
        raise PlanError(problems)
    feed.go_on(card, checkpoint)
    return card.step
