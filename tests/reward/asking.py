"""Answers by hand, and one reward asked about them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from swift.chat.message import Message
from swift.reward import Answer, Reward


def answer(text: str, *, asks: str = "Q", ids: Sequence[int] = (), **more: Any) -> Answer:
    """Return an answer to a question of one turn."""
    prompt = (Message(role="user", content=asks),)
    return Answer(prompt=prompt, text=text, ids=ids, **more)


def of(reward: Reward, *answers: Answer) -> list[float | None]:
    """Return what a reward says of some answers."""
    return list(asyncio.run(reward.judge(answers)))
