"""Answers that are made of messages, each on a channel: thoughts, calls, and what is said.

gpt-oss speaks so: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final
<|message|>…`. A message to a tool is a call; any other is said aloud, unless it is on `analysis`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swift.chat._calls import Call, called

if TYPE_CHECKING:
    from swift.chat.tools import Style

_HIDDEN = "analysis"
"""The channel of thoughts."""

_LONGEST = 300
"""Characters after which what has no header yet is plain text."""


@dataclass(frozen=True)
class Thought:
    """A piece of what a model thinks before it speaks."""

    text: str


class Channels:
    """Splits an answer, in pieces of any size, into text, thoughts and calls.

    Headers are gone; whatever has none, and a call whose arguments are no JSON object, is text.
    However the answer is cut into pieces, the calls, the joined text and the joined thoughts are
    the same.
    """

    def __init__(self, style: Style) -> None:
        """Read messages whose header is a style's `item`, and which end with its `close`."""
        self._header = style.patterns[0]
        self._closes = style.close.split()
        self._opens = style.opens
        self._ends = re.compile("|".join(map(re.escape, (*self._closes, style.opens[0]))))
        self._held = ""
        self._first = True
        """Whether nothing has been read: the prompt may have said the header's first words."""

        self._message: re.Match[str] | None = None
        """The header of the message that is being read."""

    def push(self, text: str) -> list[str | Call | Thought]:
        """Return what is sure now, in order."""
        self._held += text
        return self._read(last=False)

    def end(self) -> list[str | Call | Thought]:
        """Return what was held back."""
        return self._read(last=True)

    def _read(self, *, last: bool) -> list[str | Call | Thought]:
        out: list[str | Call | Thought] = []
        while self._held or (last and self._message):
            if not (self._body(out, last) if self._message else self._head(out, last)):
                break
        return [piece for piece in out if piece not in ("", Thought(""))]

    def _head(self, out: list[str | Call | Thought], last: bool) -> bool:
        """Read a header; return whether to go on."""
        found = self._header.match(self._held)
        if found is not None and self._held.startswith(self._begins):
            self._message, self._held = found, self._held[found.end() :]
            self._first = False
            return True
        if not last and len(self._held) < _LONGEST and self._may_begin():
            return False
        # No header: text, up to where the next one may begin.
        self._first = False
        at = min((i for o in self._opens if (i := self._held.find(o, 1)) > 0), default=0)
        cut = at or len(self._held) - (0 if last else self._unsure(self._opens))
        out.append(self._held[:cut])
        self._held = self._held[cut:]
        return bool(at) or (last and bool(self._held))

    @property
    def _begins(self) -> tuple[str, ...]:
        """What a header begins with here."""
        return (*self._opens, *([" to="] if self._first else []))

    def _may_begin(self) -> bool:
        """Tell whether what is held may be the beginning of a header."""
        said = self._held
        return any(mark.startswith(said) or said.startswith(mark) for mark in self._begins)

    def _body(self, out: list[str | Call | Thought], last: bool) -> bool:
        """Read on in a message; return whether it has ended."""
        assert self._message is not None
        ends = self._ends.search(self._held)
        to = self._message["early"] or self._message["to"] or ""
        if to and ends is None and not last:
            return False
        cut = len(self._held) - (0 if last else self._unsure((*self._closes, self._opens[0])))
        body = self._held[: ends.start() if ends else cut]
        self._held = self._held[len(body) :]
        if to:
            out.append(called(to.removeprefix("functions."), body) or self._message[0] + body)
        else:
            out.append(Thought(body) if self._message["channel"] == _HIDDEN else body)
        if ends is None:
            return False
        if ends[0] in self._closes:
            self._held = self._held[len(ends[0]) :]
        self._message = None
        return True

    def _unsure(self, marks: tuple[str, ...]) -> int:
        """Return how many of the last characters may belong to a mark."""
        return max(
            next((n for n in range(len(m) - 1, 0, -1) if self._held.endswith(m[:n])), 0)
            for m in marks
        )
