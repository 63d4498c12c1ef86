"""Online methods' Feed: answers are drawn from the policy, judged, and trained on for some steps.

A rollout: questions in their order, `group` answers to each by the policy as it is (drawing.py),
what the rewards say of them, and the steps that they are cut into. It is a function of the seed, of
the policy and of where the questions stand, so that a killed run goes on to the bit: what a
checkpoint in the middle of a rollout needs is its file of answers (drawn.py) and the constants of
its rows, which lie in the checkpoint's state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.checkpoint import State
from swift.dataset.batches import Schedule
from swift.dataset.packs import packs
from swift.method.grpo import Grpo
from swift.parallel import Piece
from swift.run.feed import lay_of
from swift.run.loop import with_constants
from swift.run.rollout.drawing import Drawer
from swift.run.rollout.drawn import keep, kept, mark, rows_of
from swift.run.rollout.judging import Asker, of_lengths, of_rewards
from swift.run.world import on_every_rank
from swift.seam.collate import collate

if TYPE_CHECKING:
    from swift.checkpoint import Card
    from swift.dataset.encoded import Encoded
    from swift.parallel import Placement
    from swift.plan import Plan
    from swift.reward import Reward
    from swift.run.data import Prepared
    from swift.run.rollout.drawn import Drawn
    from swift.seam.types import Batch

Event = Callable[..., Any]

_ALIKE = 3
_MEND = "easier or harder questions, a larger `group`, or a reward of more than two values may help"


@dataclass(frozen=True, kw_only=True)
class _Rollout:
    """Answers, cut into steps."""

    number: int
    steps: Sequence[Sequence[Batch]]
    """This rank's micro-batches of each step, with their constants."""

    given: Sequence[Sequence[Batch]]
    """The same without them."""

    sizes: Sequence[tuple[int, int]]
    """(answers, tokens) of each step, over all ranks."""

    told: Mapping[str, float]
    """Rewards and lengths of its answers, for the events of its steps."""


class RolloutFeed:
    """The Feed of a method that learns from its own answers."""

    def __init__(
        self,
        plan: Plan,
        prepared: Prepared,
        policy: Placement,
        frozen: Mapping[str, Placement],
        drawer: Drawer,
        rewards: Sequence[Reward],
        folder: Path,
        event: Event,
        *,
        end_to_end: bool = False,
    ) -> None:
        """Take everything that a rollout needs.

        Args:
            plan: Its method is online.
            prepared: Questions as tokens, and the samples they are of.
            policy: Who is trained.
            frozen: Other models by role.
            drawer: Who asks for answers.
            rewards: What judges them.
            folder: The run folder, which keeps the answers.
            event: Is told how far a rollout is.
            end_to_end: Whether the models read rows of several sequences.
        """
        assert isinstance(plan.recipe.method, Grpo)
        self._plan, self._prepared, self._policy, self._frozen = plan, prepared, policy, frozen
        self._drawer, self._folder, self._event = drawer, folder, event
        self._method = plan.recipe.method
        self._asker = Asker(plan, self._method, prepared, drawer, rewards)
        self._lay = lay_of(plan, prepared.pad_id, end_to_end=end_to_end)
        self._questions = plan.sizes.batch * self._method.steps // self._method.group
        self._drawn = 0
        """Questions that were drawn so far."""

        self._now: _Rollout | None = None
        self._alike = 0
        """Rollouts, the last ones, in which no answer was better than another."""

        self._restored: tuple[Path, int] | None = None
        """The checkpoint, and its world, whose constants `_now` has not got yet."""

        train, each = plan.recipe.train, self._method.steps_of_rollout
        rollouts = -(-round(train.epochs * len(prepared.train)) // self._questions)
        self.total = train.max_steps or max(1, rollouts) * each

    def close(self) -> None:
        """Let the engine go."""
        self._drawer.close()

    # --- the Feed ----------------------------------------------------------------------------

    def step(self, number: int) -> list[Batch]:
        """Return this rank's micro-batches of a step; the first of a rollout draws its answers."""
        rollout, place = divmod(number, self._method.steps_of_rollout)
        if self._now is not None and self._restored is not None:
            self._now, self._restored = self._settle(self._now, *self._restored), None
        if self._now is None or self._now.number != rollout:
            self._now = None  # its memory goes before the next one's comes
            self._now = self._roll(rollout, number)
        return list(self._now.steps[place % self._method.steps])

    def size(self, number: int) -> tuple[int, int]:
        """Return (answers, tokens) of a step, over all ranks."""
        assert self._now is not None
        return self._now.sizes[number % self._method.steps_of_rollout % self._method.steps]

    def epoch(self, number: int) -> float:
        """Return the passes over the questions that are done."""
        return self._drawn / len(self._prepared.train)

    def told(self, number: int) -> Mapping[str, float]:
        """Return what is known of the rollout that a step is of."""
        return self._now.told if self._now is not None else {}

    def validation(self) -> list[list[Batch]]:
        """Return none: held-out questions are answered and judged."""
        return []

    @property
    def judges(self) -> bool:
        """Whether there are held-out questions."""
        return self._prepared.validation is not None

    def judge(self, done: int) -> dict[str, float]:
        """Return what the rewards say of answers to the held-out questions, one to each."""
        self._drawer.sync(done)
        drawn = self._asker.held_out()
        return {**of_rewards(drawn), **of_lengths(drawn)}

    # --- checkpoints -------------------------------------------------------------------------

    def position(self, done: int) -> dict[str, int]:
        """Return how many questions were drawn, and in a rollout the digest of its answers."""
        if self._now is None or done % self._method.steps_of_rollout == 0:
            return {"drawn": self._drawn}
        return {"drawn": self._drawn, "mark": mark(self._folder, self._now.number)}

    def pieces(self, done: int) -> list[Piece]:
        """Return the constants of the rollout that `done` steps are in the middle of."""
        if self._now is None or done % self._method.steps_of_rollout == 0:
            return []
        return [
            Piece(name, value, tuple(value.shape), (0,))
            for name, value in self._constants(self._now.given, self._now.steps)
        ]

    def go_on(self, card: Card, checkpoint: Path) -> None:
        """Continue from a checkpoint, in the middle of a rollout too.

        On another world than the checkpoint's its constants are computed anew, by the policy as it
        is then.
        """
        at = card.stream or {}
        self._drawn = at.get("drawn", 0)
        rollout, inside = divmod(card.step, self._method.steps_of_rollout)
        if not inside:
            return
        drawn = kept(self._folder, rollout, at.get("mark"))
        given, sizes = self._cut(rollout, drawn)
        self._now = _Rollout(
            number=rollout,
            steps=given,
            given=given,
            sizes=sizes,
            told={**of_rewards(drawn), **of_lengths(drawn)},
        )
        self._restored = (checkpoint, card.world)

    def _settle(self, now: _Rollout, checkpoint: Path, world: int) -> _Rollout:
        """Return a rollout that a run goes on in, with its constants: the policy is restored."""
        if world != self._drawer.world:
            self._event("note", text="another world: the rollout's constants are computed anew")
            return replace(now, steps=self._with_constants(now.given))
        state, steps = State(checkpoint), []
        for s, batches in enumerate(now.given):
            found = [state.starting(self._name(s, m, "")) for m in range(len(batches))]
            steps.append([_with(b, columns) for b, columns in zip(batches, found, strict=True)])
        return replace(now, steps=steps)

    def _constants(self, given: Any, steps: Any) -> Iterator[tuple[str, Any]]:
        for s, (before, after) in enumerate(zip(given, steps, strict=True)):
            for m, (bare, batch) in enumerate(zip(before, after, strict=True)):
                for column, value in sorted(batch.rows.columns.items()):
                    if column not in bare.rows.columns:
                        yield self._name(s, m, column), value

    def _name(self, step: int, micro: int, column: str) -> str:
        return f"rollout/{self._drawer.rank}/{step}/{micro}/{column}"

    # --- a rollout ---------------------------------------------------------------------------

    def _roll(self, rollout: int, version: int) -> _Rollout:
        """Draw, judge, keep and cut a rollout."""
        clock = time.monotonic()
        self._drawer.sync(version)
        drawn, told, end = self._asker.groups(rollout, self._drawn, self._questions)
        with on_every_rank():
            if self._drawer.rank == 0:
                keep(self._folder, rollout, drawn)
        self._watch(rollout, told)
        given, sizes = self._cut(rollout, drawn)
        seconds = {"rollout_seconds": round(time.monotonic() - clock, 3)}
        made = _Rollout(
            number=rollout,
            steps=self._with_constants(given),
            given=given,
            sizes=sizes,
            told={**told, **of_lengths(drawn), **seconds},
        )
        self._drawn = end  # at last: what fails before begins again where it began
        return made

    def _watch(self, rollout: int, told: Mapping[str, float]) -> None:
        """Say it once where rollout after rollout teaches nothing."""
        self._alike = self._alike + 1 if told.get("frac_reward_zero_std") == 1 else 0
        if self._alike == _ALIKE:
            text = f"in {_ALIKE} rollouts all answers to a question had the same reward: nothing is"
            self._event("warning", text=f"{text} learnt so (up to rollout {rollout}); {_MEND}")

    def _cut(
        self, rollout: int, drawn: Sequence[Drawn]
    ) -> tuple[list[list[Batch]], list[tuple[int, int]]]:
        """Return this rank's micro-batches of each step, and the sizes of the steps."""
        sides = self._sides
        masked = self._method.chosen["mask_truncated"]
        rows = rows_of(drawn, mask_truncated=masked, sides=sides)
        options = self._plan.recipe
        schedule = Schedule(
            lengths=rows.lengths,
            batch_size=self._plan.sizes.batch // sides,
            micro_batch_size=self._plan.sizes.micro // sides,
            data_world=self._policy.data_world,
            seed=options.train.seed + (rollout + 1 << 32),
            shuffle=options.data.shuffle,
            bucket=options.data.bucket,
        )
        steps, sizes = [], []
        for step in range(self._method.steps):
            items = schedule.samples(step)
            cut = self._packed(rows, items) if options.data.packing else schedule.step(step)
            mine = cut[self._policy.data_rank]
            steps.append([collate(rows, micro, self._lay) for micro in mine])
            sizes.append((len(items) * sides, int(rows.lengths[items].sum())))
        return steps, sizes

    @property
    def _sides(self) -> int:
        """How many answers to a question stay together, in one micro-batch."""
        sizes = self._plan.sizes
        return gcd(self._method.group, sizes.micro, sizes.batch)

    def _packed(self, rows: Encoded, items: Any) -> list[list[list[int]]]:
        """Return [rank][micro-batch] of answers that fill rows of max_length, `micro` of them."""
        room = self._plan.room * rows.sides
        found = [[int(items[i]) for i in pack] for pack in packs(rows.lengths[items], room)]
        micro, world = self._plan.sizes.micro, self._policy.data_world
        whole = [
            [item for pack in found[i : i + micro] for item in pack]
            for i in range(0, len(found), micro)
        ]
        whole += [[] for _ in range(-len(whole) % world)]
        return [whole[rank::world] for rank in range(world)]

    def _with_constants(self, given: Sequence[Sequence[Batch]]) -> list[list[Batch]]:
        """Return the batches with what the method computes once for the whole rollout."""
        flat = [batch for batches in given for batch in batches]
        rows = with_constants(self._method, self._policy, self._frozen, flat)
        filled = iter([replace(b, rows=r) for b, r in zip(flat, rows, strict=True)])
        return [[next(filled) for _ in batches] for batches in given]


def _with(batch: Batch, columns: Mapping[str, Any]) -> Batch:
    rows = replace(batch.rows, columns={**batch.rows.columns, **columns})
    return replace(batch, rows=rows)
