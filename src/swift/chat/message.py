"""Message and Sample: what a row of any data set becomes before it becomes tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

REASONING = ("reasoning_content", "thinking", "reasoning")
"""What data sets call the words before an answer, the standard name first."""


class Arguments(dict[str, Any]):
    """Arguments of a call that came as text: an object that is written as it came."""

    def __init__(self, text: str) -> None:
        super().__init__(json.loads(text))
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __add__(self, other: str) -> str:
        return self.text + other

    def __radd__(self, other: str) -> str:
        return other + self.text


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
        Arguments of calls that come as JSON text, OpenAI's way, are objects to templates that
        want these, and stay the text they were to those that write it.
        """
        reasoning = next((self.more[n] for n in REASONING if self.more.get(n) is not None), None)
        named: dict[str, Any] = {}
        if reasoning is not None:
            named = dict.fromkeys(REASONING[:2], reasoning)
        calls = self.more.get("tool_calls")
        if isinstance(calls, Sequence) and not isinstance(calls, str):
            named = {**named, "tool_calls": [_with_object(call) for call in calls]}
        return {"role": self.role, "content": self.content, **self.more, **named}


MEDIA = ("image", "video", "audio")
"""Kinds of media; `<image>` in a message is the place of one."""


@dataclass(frozen=True, kw_only=True)
class Media:
    """A picture, a film or a sound, of which a message holds the place."""

    kind: Literal["image", "video", "audio"]

    source: str
    """Path, URL or `data:` URI. A path is as the row wrote it, from `data.image_folder` if it is
    no absolute one."""

    frames: tuple[str, ...] = ()
    """A film that is given as pictures, in their order; `source` is the first of them."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A thing in a picture: what it is called, and where it is."""

    name: str = ""
    """Empty: it has none of its own, as the second of two boxes of one name."""

    box: tuple[float, ...] = ()
    """x1, y1, x2, y2, or x, y of a point: from the upper left corner. Empty: it has none."""

    scale: Literal["pixels", "unit", "thousand"] = "pixels"
    """Of the box: pixels of the picture as it is stored, or its sides are 1, or 1000."""

    image: int = 0
    """Which of the sample's pictures, from 0."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example: a conversation, a pair of conversations, or plain text; or what is beside one.

    `chosen` is the conversation (its last turns are the answer). `rejected` is, for preference
    data, the whole conversation with the other answer. `text` is plain text instead of both.
    """

    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    text: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()

    media: tuple[Media, ...] = ()
    """In the order of their places: `<image>`, `<video>`, `<audio>` in the messages of `chosen`. A
    tag of a kind that there are no media of is a text like any."""

    rejected_media: tuple[Media, ...] = ()
    """In the order of their places in the messages of `rejected`."""

    other_media: tuple[tuple[Media, ...], ...] = ()
    """Of each of `positives`, then of each of `negatives`; nothing where none of them has any."""

    things: tuple[Thing, ...] = ()
    """The n-th `<ref-object>` in the messages is the n-th name here, the n-th `<bbox>` the n-th
    box; without things these are texts like any."""

    label: bool | None = None
    """Whether the answer is a good one (KTO)."""

    margin: float | None = None
    """By how much `chosen` is better than `rejected` (reward models)."""

    target: int | float | tuple[int, ...] | tuple[float, ...] | None = None
    """Class, classes or number that the model should tell (classification, regression)."""

    positives: tuple[tuple[Message, ...], ...] = ()
    negatives: tuple[tuple[Message, ...], ...] = ()
    """Texts that mean the same as `chosen`, and that do not (embeddings, rerankers)."""

    solution: str = ""
    """What a right answer comes to, where answers are drawn and judged (online methods)."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the row that no format reads: rewards may."""

    origin: str = ""
    """Where it came from: "mine.jsonl:17"."""


def _with_object(call: Any) -> Any:
    """Return a call whose arguments are an object where they are the text of one."""
    said = call.get("function") if isinstance(call, Mapping) else None
    text = said.get("arguments") if isinstance(said, Mapping) else None
    if said is None or not isinstance(text, str):
        return call
    try:
        return {**call, "function": {**said, "arguments": Arguments(text)}}
    except (ValueError, TypeError, RecursionError):
        return call
