"""Calls of tools in answers, in OpenAI's shape."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swift.chat.channels import Thought
from swift.chat.tools import Call, Style, reader_of
from swift.serve.choice import AUTO, Choice


@dataclass(frozen=True)
class Said:
    """What is new of an answer."""

    text: str = ""
    thought: str = ""
    calls: Sequence[dict[str, Any]] = ()
    refusal: str = ""
    finish: str | None = None


class Calls:
    """The calls of one answer, counted as they come."""

    def __init__(
        self, style: Style, tools: Sequence[Mapping[str, Any]], choice: Choice = AUTO
    ) -> None:
        """Read an answer's calls.

        Args:
            style: How the model spells them.
            tools: Those that were offered to it.
            choice: What was asked of its calls.
        """
        self._reader = reader_of(style, tools)
        self._choice = choice
        self._head = choice.begun(style)
        self._id = int(style.id or 0)
        self.count = 0
        """Calls so far."""

    def read(self, text: str, finish: str | None) -> Said:
        """Return what is new, with calls and their places in the answer.

        Where a call was demanded, the prompt has begun one, and words are none: they are left out.
        """
        pieces = self._reader.push(self._head + text)
        self._head = ""
        if finish is not None:
            pieces += self._reader.end()
        calls = [piece for piece in pieces if isinstance(piece, Call)]
        shaped = [self._shaped(call) for call in calls if self._heard(call)]
        said = "".join(piece for piece in pieces if isinstance(piece, str))
        thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
        refusal = ""
        if self._choice.demanded:
            said = ""
            if finish is not None and not self.count:
                refusal = f"the model was to call {self._choice.wanted}, and spelt no such call"
        return Said(said, thought, shaped, refusal, self._finish(finish))

    def _heard(self, call: Call) -> bool:
        """Tell whether a call is one that was asked for."""
        return self._choice.allows(call.name) and (self._choice.parallel or not self.count)

    def _finish(self, finish: str | None) -> str | None:
        """Return why the answer ended: an end by itself with calls is `tool_calls`."""
        return "tool_calls" if finish == "stop" and self.count else finish

    def _shaped(self, call: Call) -> dict[str, Any]:
        index, self.count = self.count, self.count + 1
        id = uuid.uuid4().hex
        return {
            "index": index,
            "id": id[: self._id] if self._id else f"call_{id[:24]}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
