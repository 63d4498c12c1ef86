"""Downloads as they are seen: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

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
            self._say(f"  {size(progress.done)} of {size(progress.total)}")
        if progress.ended:
            self._end(progress)

    def _begin(self, progress: Progress) -> None:
        self._begun, self._last = True, time.monotonic()
        files = f"{progress.files} file{'s' if progress.files > 1 else ''}"
        what = f"{progress.id} from {progress.source}: {files}, {size(progress.total)}"
        self._say(f"fetching {what}, into {progress.into}")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=progress.total, file=sys.stderr, unit="B", unit_scale=True)

    def _end(self, progress: Progress) -> None:
        self._begun = False
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if progress.done < progress.total:
            self._say(f"  stopped at {size(progress.done)}; the next try goes on from there")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)


def size(count: int) -> str:
    """Return a number of bytes as people read it: 512 B, 4.2 MB, 15.3 GB (powers of ten)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
