"""Calls of tools in answers, in OpenAI's shape."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from swift.chat.tools import Call, Reader, Style


class Calls:
    """The calls of one answer, counted as they come."""

    def __init__(self, style: Style, tools: Sequence[Mapping[str, Any]]) -> None:
        """Read an answer's calls.

        Args:
            style: How the model spells them.
            tools: Those that were offered to it.
        """
        self._reader = Reader(style, tools)
        self._id = int(style.id or 0)
        self.count = 0
        """Calls so far."""

    def read(self, text: str, *, last: bool) -> tuple[str, list[dict[str, Any]]]:
        """Return what is new: text, and calls with their places in the answer."""
        pieces = self._reader.push(text)
        if last:
            pieces += self._reader.end()
        said = "".join(piece for piece in pieces if isinstance(piece, str))
        return said, [self._shaped(piece) for piece in pieces if isinstance(piece, Call)]

    def finish(self, finish: str | None) -> str | None:
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
