"""Questions asked and answers judged: what a rollout, or a validation, is made of."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np

from swift.reward.together import judged
from swift.run.rollout.drawn import valued
from swift.run.rollout.speaking import Asked
from swift.run.world import from_rank_zero

if TYPE_CHECKING:
    from swift.chat.message import Sample
    from swift.dataset.encoded import Encoded
    from swift.method.grpo import Grpo
    from swift.plan import Plan
    from swift.reward import Reward
    from swift.run.data import Prepared
    from swift.run.rollout.drawing import Drawer
    from swift.run.rollout.drawn import Drawn

Told = dict[str, float]


class Asker:
    """Asks questions of the policy as the drawer's engine has it, and has the answers judged."""

    def __init__(
        self,
        plan: Plan,
        method: Grpo,
        prepared: Prepared,
        drawer: Drawer,
        rewards: Sequence[Reward],
    ) -> None:
        """Take what a rollout needs; see RolloutFeed."""
        self._method, self._prepared, self._drawer = method, prepared, drawer
        self._rewards, self._seed = rewards, plan.recipe.train.seed
        self._order = _Order(len(prepared.train), self._seed, plan.recipe.data.shuffle)

    def groups(self, rollout: int, begin: int, questions: int) -> tuple[list[Drawn], Told, int]:
        """Return so many groups of answers, what is told of them, and where the questions stand.

        With dynamic sampling groups that are all alike give way to others, `max_draws` times.

        Args:
            rollout: Its number, of which the answers' random numbers are made.
            begin: Questions that were drawn before.
            questions: How many groups are wanted.
        """
        dynamic = self._method.chosen["dynamic_sampling"]
        useful: list[list[Drawn]] = []
        alike: list[list[Drawn]] = []
        at = begin
        for draw in range(self._method.max_draws if dynamic else 1):
            missing = questions - len(useful)
            items = [self._order[at + i] for i in range(missing)]
            names = [f"{rollout}:{draw}:{i}" for i in range(missing)]
            for group in _by_group(self._ask("train", items, names, self._method.group, at)):
                (alike if dynamic and _all_alike(group) else useful).append(group)
            at += missing
            if len(useful) == questions:
                break
        told = of_rewards([one for group in [*useful, *alike] for one in group])
        found = [*useful, *alike][:questions]
        return [one for group in found for one in group], told, at

    def held_out(self) -> list[Drawn]:
        """Return one judged answer to each held-out question; the same draw each time."""
        assert self._prepared.validation is not None
        items = list(range(len(self._prepared.validation)))
        return self._ask("validation", items, [f"validation:{i}" for i in items], 1, 0)

    def _ask(
        self, split: str, items: Sequence[int], names: Sequence[str], each: int, first: int
    ) -> list[Drawn]:
        """Return `each` answers to every item; rank 0 has them judged, and all get the same."""
        rows = self._prepared.train if split == "train" else self._prepared.validation
        assert rows is not None
        asked = [
            Asked(
                group=first + number,
                sample=self._sample(split, rows, item),
                prompt=rows.sequence(item, 0)[0].tolist(),
                name=f"{self._seed}:{name}:{k}",
            )
            for number, (item, name) in enumerate(zip(items, names, strict=True))
            for k in range(each)
        ]
        drawn = self._drawer.draw(asked)

        def judge() -> bytes:
            answers = [d.answer(a.sample) for d, a in zip(drawn, asked, strict=True)]
            return pickle.dumps(self._drawer.heard(lambda: judged(self._rewards, answers)))

        return valued(drawn, pickle.loads(from_rank_zero(judge)))

    def _sample(self, split: str, rows: Encoded, item: int) -> Sample:
        stored = item if rows.items is None else int(rows.items[item])
        return self._prepared.questions[split][stored]


class _Order:
    """Questions in the order in which they are drawn, pass after pass without end."""

    def __init__(self, count: int, seed: int, shuffle: bool) -> None:
        self._count, self._seed, self._shuffle = count, seed, shuffle
        self._pass, self._items = -1, np.arange(count)

    def __getitem__(self, place: int) -> int:
        epoch, inside = divmod(place, self._count)
        if self._shuffle and epoch != self._pass:
            draw = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._pass, self._items = epoch, draw.permutation(self._count)
        return int(self._items[inside])


def _by_group(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    found: dict[int, list[Drawn]] = {}
    for one in drawn:
        found.setdefault(one.group, []).append(one)
    return list(found.values())


def _all_alike(group: Sequence[Drawn]) -> bool:
    """Return whether no answer of a group was better than another."""
    return len({one.reward for one in group if one.reward is not None}) < 2


def of_rewards(drawn: Sequence[Drawn]) -> Told:
    """Return the means of rewards, under the field's names."""
    told: Told = {}
    for name in drawn[0].rewards if drawn else ():
        said = [value for one in drawn if (value := one.rewards[name]) is not None]
        if said:
            told |= {f"rewards/{name}/mean": fmean(said), f"rewards/{name}/std": pstdev(said)}
    groups = [[o.reward for o in g if o.reward is not None] for g in _by_group(drawn)]
    known: list[Any] = [reward for group in groups for reward in group]
    if known:
        spreads = [pstdev(group) for group in groups if group]
        told["reward"] = fmean(known)
        if max(map(len, groups)) == 1:  # held-out questions have one answer each: nothing spreads
            return told
        told["reward_std"] = fmean(spreads)
        told |= {"frac_reward_zero_std": spreads.count(0.0) / len(spreads)}
    return told


def of_lengths(drawn: Sequence[Drawn]) -> Told:
    """Return how long answers are, in tokens of the model's own, and how many were cut."""
    sizes = [sum(one.own) for one in drawn]
    return {
        "completions/mean_length": fmean(sizes),
        "completions/min_length": min(sizes),
        "completions/max_length": max(sizes),
        "completions/clipped_ratio": fmean(one.finish == "length" for one in drawn),
    }
