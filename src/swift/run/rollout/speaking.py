"""One conversation while it is drawn: what was asked, said and replied, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swift.engine import Delta
from swift.run.rollout.drawn import Drawn

if TYPE_CHECKING:
    from swift.chat.message import Message, Sample


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One answer that is wanted."""

    group: int
    sample: Sample
    prompt: Sequence[int]
    name: str
    """Of its random numbers: the same name, the same answer by the same weights."""


class Speaking:
    """A conversation under way."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.ids: list[int] = []
        self.said: list[Message] = []
        """Messages after the prompt, but for the last answer."""

        self.last = Delta(finish="stop")
        self._own: list[bool] = []
        self._logprobs: list[float] = []

    @property
    def sample(self) -> Sample:
        """What was asked."""
        return self.asked.sample

    def hear(self, delta: Delta) -> None:
        """Take in what the model says."""
        self.ids += delta.ids
        self._own += [True] * len(delta.ids)
        self._logprobs += [one.logprob for one in delta.logprobs]
        self.last = delta

    def reply(self, messages: Sequence[Message], ids: Sequence[int]) -> None:
        """Take in what is replied to it."""
        self.said += messages
        self.ids += ids
        self._own += [False] * len(ids)

    def drawn(self) -> Drawn:
        """Return it, ended."""
        return Drawn(
            group=self.asked.group,
            origin=self.asked.sample.origin,
            prompt=self.asked.prompt,
            question=self.sample.chosen[-1].content,
            ids=self.ids,
            own=self._own,
            logprobs=self._logprobs,
            text=self.last.text,
            said=[turn.as_dict() for turn in self.said],
            finish=self.last.finish or "stop",
            version=self.last.version,
        )
