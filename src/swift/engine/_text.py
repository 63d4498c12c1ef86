"""An answer's text as its tokens come: whole characters only, and up to a stop text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swift.chat.speaker import Speaker

_BROKEN = "\ufffd"
"""What stands for bytes that are no whole character (yet)."""


class Text:
    """Text of growing tokens."""

    def __init__(self, speaker: Speaker, stops: Sequence[str]) -> None:
        self._speaker, self._stops = speaker, stops
        self._ids: list[int] = []
        self._known = self._read = 0
        self._held = ""
        self.stopped = False
        """Whether a stop text was met; what follows is not told."""

    def push(self, id: int) -> str:
        """Return the text that is sure now."""
        self._ids.append(id)
        return self._release(self._decoded(False))

    def end(self) -> str:
        """Return what was held back."""
        rest = self._release(self._decoded(True))
        if not self.stopped:
            rest, self._held = rest + self._held, ""
        return rest

    def _decoded(self, last: bool) -> str:
        """Return the new whole characters.

        Tokens are decoded together with those before them, since a tokenizer may write a blank
        before all tokens but the first.
        """
        before = self._speaker.say(self._ids[self._known : self._read])
        now = self._speaker.say(self._ids[self._known :])
        if not last and (len(now) <= len(before) or now.endswith(_BROKEN)):
            return ""
        self._known, self._read = self._read, len(self._ids)
        return now[len(before) :]

    def _release(self, new: str) -> str:
        """Return what cannot be the beginning of a stop text any more."""
        if not self._stops or self.stopped:
            return "" if self.stopped else new
        text = self._held + new
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        hold = max(_overlap(text, stop) for stop in self._stops)
        cut = len(text) - hold
        self._held = text[cut:]
        return text[:cut]


def _overlap(text: str, stop: str) -> int:
    """Return how many of the last characters of `text` begin `stop`."""
    return next(
        (n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0
    )
