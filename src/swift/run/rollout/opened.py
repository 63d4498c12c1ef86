"""A plan's rollouts, opened: its engine, its rewards, its Feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.run.rollout.drawing import Drawer
from swift.run.rollout.feed import RolloutFeed
from swift.run.rollout.scoring import judges
from swift.run.world import on_every_rank

if TYPE_CHECKING:
    from swift.core.env import Ranks
    from swift.parallel import Placement
    from swift.plan import Plan
    from swift.reward import Reward
    from swift.run.data import Prepared
    from swift.run.given import Given

Event = Callable[..., Any]


def online(
    plan: Plan,
    prepared: Prepared,
    policy: Placement,
    frozen: Mapping[str, Placement],
    ranks: Ranks,
    given: Given,
    folder: Path,
    event: Event,
    *,
    asked_to_stop: Callable[[], int],
    end_to_end: bool,
) -> RolloutFeed:
    """Return the feed of a plan whose method is online: its engine and its rewards are opened.

    Raises:
        PlanError: The engine cannot run the model, or a reward cannot judge.
    """
    rewards: tuple[Reward, ...] = ()
    with on_every_rank():
        if ranks.rank == 0:  # which alone asks them
            rewards = judges(plan, ranks, given)
    drawer = Drawer(plan, policy, ranks, event, asked_to_stop)
    return RolloutFeed(
        plan, prepared, policy, frozen, drawer, rewards, folder, event, end_to_end=end_to_end
    )
