"""A plan's encoded rows as the micro-batches of each step, on this rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swift.checkpoint import read_card
from swift.core.errors import PlanError, Problem
from swift.dataset.batches import Schedule
from swift.dataset.packs import packs
from swift.seam.collate import collate
from swift.seam.types import Batch

if TYPE_CHECKING:
    from swift.parallel import Placement
    from swift.plan import Plan
    from swift.run.data import Prepared


class RunFeed:
    """The Feed of a plan on this rank.

    A step counts samples, or with packing packs of them: the schedule knows lengths alone.
    """

    def __init__(
        self, plan: Plan, prepared: Prepared, placement: Placement, *, end_to_end: bool = False
    ) -> None:
        """Lay the samples of a micro-batch `end_to_end` in one row, or each in a padded one."""
        options, sizes = plan.recipe.train, plan.sizes
        self._prepared, self._placement = prepared, placement
        self._micro, self._flat = sizes.micro, end_to_end
        lengths = prepared.train.lengths
        self._packs: list[list[int]] | None = None
        if plan.recipe.data.packing:
            self._packs = packs(lengths, plan.room * prepared.train.sides)
            lengths = np.array([lengths[pack].sum() for pack in self._packs])
        self._schedule = Schedule(
            lengths=lengths,
            batch_size=sizes.batch,
            micro_batch_size=sizes.micro,
            data_world=placement.data_world,
            seed=options.seed,
            shuffle=plan.recipe.data.shuffle,
            bucket=plan.recipe.data.bucket,
            epochs=options.epochs,
            max_steps=options.max_steps,
        )
        self.total = self._schedule.total_steps
        self._validation = self._validate()

    def step(self, number: int) -> list[Batch]:
        """Return this rank's micro-batches of a step."""
        mine = self._schedule.step(number)[self._placement.data_rank]
        pad, train = self._prepared.pad_id, self._prepared.train
        return [collate(train, self._samples(items), pad, end_to_end=self._flat) for items in mine]

    def size(self, number: int) -> tuple[int, int]:
        """Return (samples, tokens) of a step, over all ranks."""
        items = self._schedule.samples(number)
        return len(self._samples(items.tolist())), int(self._schedule.lengths[items].sum())

    def epoch(self, number: int) -> float:
        """Return the passes over the data done after a step."""
        return self._schedule.epoch(number)

    def validation(self) -> list[list[Batch]]:
        """Return this rank's validation batches, longest first."""
        return self._validation

    def _samples(self, items: Sequence[int]) -> Sequence[int]:
        """Return the samples of what the schedule counts."""
        if self._packs is None:
            return items
        return [sample for item in items for sample in self._packs[item]]

    def _validate(self) -> list[list[Batch]]:
        held = self._prepared.validation
        if held is None:
            return []
        order = np.argsort(-held.lengths, kind="stable").tolist()
        world, rank = self._placement.data_world, self._placement.data_rank
        cut = [order[i : i + self._micro] for i in range(0, len(order), self._micro)]
        cut += [[] for _ in range(math.ceil(len(cut) / world) * world - len(cut))]
        pad = self._prepared.pad_id
        return [[collate(held, items, pad, end_to_end=self._flat)] for items in cut[rank::world]]

    def check_resume(self, checkpoint: Path, prepared: Prepared) -> int:
        """Return the steps done at `checkpoint`.

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
                ("number of steps", card.total_steps, self.total),
            )
            if before != now
        ]
        if problems:
            raise PlanError(problems)
        return card.step
