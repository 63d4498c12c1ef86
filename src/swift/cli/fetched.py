"""Downloads as they are seen: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from swift.core.files import size_words

if TYPE_CHECKING:
    from swift.hub.progress import Progress

_PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""


class Downloads:
    """Shows downloads on stderr; see swift.hub.progress.Show."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._begun = False
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show what a download tells."""
        if not self._begun:
            self._begin(progress)
        if progress.note:
            self._say(f"  {progress.note}")
        elif self._bar is not None:
            self._bar.update(progress.done - self._bar.n)
        elif time.monotonic() - self._last >= _PLAIN_EVERY and not progress.ended:
            self._last = time.monotonic()
            self._say(f"  {size_words(progress.done)} of {size_words(progress.total)}")
        if progress.ended:
            self._end(progress)

    def _begin(self, progress: Progress) -> None:
        self._begun, self._last = True, time.monotonic()
        files = f"{progress.files} file{'s' if progress.files > 1 else ''}"
        way = "to" if progress.up else "from"
        what = f"{progress.id} {way} {progress.source}: {files}, {size_words(progress.total)}"
        self._say(f"sending {what}" if progress.up else f"fetching {what}, into {progress.into}")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=progress.total, file=sys.stderr, unit="B", unit_scale=True)

    def _end(self, progress: Progress) -> None:
        self._begun = False
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if progress.done < progress.total:
            rest = "sends what is missing" if progress.up else "goes on from there"
            self._say(f"  stopped at {size_words(progress.done)}; the next try {rest}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)
