"""Message and Sample: what a row of any data set becomes before it becomes tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REASONING = ("reasoning_content", "thinking", "reasoning")
"""What data sets call the words before an answer, the standard name first."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation, in OpenAI's shape."""

    role: str
    content: str = ""

    more: Mapping[str, Any] = field(default_factory=dict)
    """Other keys that a template may read: tool_calls, tool_call_id, name, reasoning_content."""

    loss: bool | None = None
    """Whether an assistant turn is trained; None: as the method says."""

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping that Jinja templates expect.

        Reasoning goes by three names; templates read `reasoning_content`, gpt-oss `thinking`.
        """
        reasoning = next((self.more[n] for n in REASONING if self.more.get(n) is not None), None)
        named = {} if reasoning is None else dict.fromkeys(REASONING[:2], reasoning)
        return {"role": self.role, "content": self.content, **self.more, **named}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example: a conversation, a pair of conversations, or plain text.

    `chosen` is the conversation (its last turns are the answer). `rejected` is, for preference
    data, the whole conversation with the other answer. `text` is plain text instead of both.
    """

    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    text: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()

    origin: str = ""
    """Where it came from: "mine.jsonl:17"."""
