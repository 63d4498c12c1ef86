"""Rewards: how good an answer is that was drawn from the model itself (online methods).

Add one: a file here with a frozen class under `@rewards.add("name")`; or, without any registering,
a function in a file of yours: `reward: ./mine.py:brevity`. `judged` (`together.py`) asks several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import Field

from swift.chat.message import Message
from swift.core.errors import Problem
from swift.core.plugins import Used
from swift.core.registry import Registry
from swift.core.schema import Component


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer that was drawn, and what is known of its question."""

    prompt: Sequence[Message]
    text: str
    """What was said, without the end token."""

    ids: Sequence[int] = ()
    """Its tokens, the end token among them."""

    finish: str = "stop"
    """Why it ended: "stop", or "length" where it was cut."""

    solution: str = ""
    """What a right answer comes to; empty where the row says nothing of it."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    """The row's columns that no format reads."""

    version: int = 0
    """How many optimiser steps the policy had taken that drew it."""


class Reward(Component):
    """Options of a reward."""

    checks: ClassVar[bool] = False
    """Whether it compares answers with the row's solution, and says nothing where there is none."""

    weight: float = Field(default=1.0, ge=-1e6, le=1e6)
    """What its values are multiplied by in the sum of all rewards. 0: it is only measured."""

    @property
    def label(self) -> str:
        """What its metrics are called."""
        return self.name

    def problems(self) -> Sequence[Problem]:
        """Return what keeps it from judging on this machine; asked before a run begins."""
        return ()

    def notes(self) -> Sequence[str]:
        """Return what is to be said aloud before a run begins, a line each."""
        return ()

    def file(self) -> str:
        """Return the file or module of the user's own whose code it runs; "" for none."""
        return ""

    def code(self) -> Sequence[Used]:
        """Return what to remember of that code, so that other code is another run."""
        return ()

    def settled(self) -> Reward:
        """Return it as a run keeps it: the same from whatever directory the run goes on."""
        return self

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return how good each answer is; None where this reward does not apply to one.

        It runs in a thread and an event loop of its own, and is cancelled if the time is up.
        """
        raise NotImplementedError


rewards: Registry[Reward] = Registry("reward", "swift.reward")


def spelled(said: object) -> object:
    """Return the map that one item of `reward:` stands for; what it cannot be, as it is.

    "accuracy" is {name: accuracy}; "./mine.py:brevity" is {name: function, path: ...}, also as the
    name in a map of options.
    """
    if isinstance(said, Reward):
        return said
    options = {"name": said} if isinstance(said, str) else said
    if not isinstance(options, Mapping):
        return said
    name = options.get("name")
    if not isinstance(name, str) or not (":" in name or name.endswith(".py")):
        return dict(options)
    return {**options, "name": "function", "path": name}


def brief(options: Mapping[str, Any]) -> object:
    """Return the shortest spelling of a reward's options: `spelled` makes them of it again."""
    name = options["path"] if options["name"] == "function" else options["name"]
    rest = {k: v for k, v in options.items() if k not in ("name", "path")}
    if options["name"] != "function":
        rest |= {"path": options["path"]} if "path" in options else {}
    return {"name": name, **rest} if rest else name


def listed(said: Any) -> Any:
    """Return the rewards that the value of `reward:` means: one item, or a list of them.

    Raises:
        UserError: There is no such name.
        pydantic.ValidationError: An option is unknown or out of bounds.
    """
    items = said if isinstance(said, list | tuple) else () if said is None else (said,)
    return tuple(rewards.make(spelled(item)) for item in items)
