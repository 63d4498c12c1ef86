"""How a download or a push tells what it does: by calling whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeAlias

_EVERY = 0.1
"""Seconds between two reports of bytes."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a download has done so far."""

    id: str
    source: str
    """Host that the bytes come from."""

    total: int
    """Bytes of all files wanted."""

    done: int = 0
    """Bytes of them that are here, those of earlier tries included."""

    files: int = 0
    """Number of files wanted."""

    into: str = ""
    """Folder that they go to."""

    up: bool = False
    """Whether they go to the source, instead of coming from it."""

    note: str = ""
    """Something worth a line: a wait, a corrupt file. "" for mere bytes."""

    ended: bool = False
    """Whether this is the last report, of a download that is whole or given up."""


Show: TypeAlias = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Show nothing."""


showing: ContextVar[Show] = ContextVar("showing", default=silent)
"""Who shows the downloads that a name of a model or a data set starts."""


class Tally:
    """Counts the bytes of a download's threads, and reports them now and then."""

    def __init__(self, start: Progress, show: Show) -> None:
        self._now, self._show = start, show
        self._lock = Lock()
        self._last = 0.0

    def add(self, count: int) -> None:
        """Count so many bytes more, or fewer where some must come again."""
        with self._lock:
            self._now = replace(self._now, done=self._now.done + count)
            if time.monotonic() - self._last >= _EVERY:
                self._last = time.monotonic()
                self._show(self._now)

    def note(self, text: str) -> None:
        """Report something worth a line."""
        with self._lock:
            self._show(replace(self._now, note=text))

    def end(self) -> None:
        """Report for the last time."""
        with self._lock:
            self._show(replace(self._now, ended=True))
