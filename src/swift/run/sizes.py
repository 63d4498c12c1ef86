"""Sizes that a recipe asks for and nothing here can use: they are said aloud, and not refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swift.core.machine import cores
from swift.method.grpo import Grpo

if TYPE_CHECKING:
    from swift.plan import Plan

Event = Callable[..., Any]


def crowded(plan: Plan, event: Event) -> None:
    """Say that more processes are asked for than can be at work at once."""
    asked, most = plan.recipe.data.num_proc or 0, cores()
    if asked > most:
        text = f"data.num_proc is {asked:,}, and this process may use {most:,} cores: "
        text += "more processes cost memory and save no time; leave it out"
        event("note", text=text, about="sizes")


def large(plan: Plan, samples: int, event: Event) -> None:
    """Say that more samples a step are asked for than there are; the default is never blamed."""
    train, batch, method = plan.recipe.train, plan.sizes.batch, plan.recipe.method
    sizes = (train.batch_size, train.gradient_accumulation_steps, train.micro_batch_size)
    asked = sizes != (None, None, "auto")
    if isinstance(method, Grpo):
        batch, each = batch * method.steps // method.group, "a rollout asks {:,} questions"
    else:
        each = "a step takes {:,} samples"
    if asked and batch > samples:
        text = f"{each.format(batch)}, and there are {samples:,}: "
        text += "each is a whole epoch; lower train.batch_size"
        event("note", text=text, about="sizes")
