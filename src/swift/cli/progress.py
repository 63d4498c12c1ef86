"""Rows as they are answered: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

_PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""


class Progress:
    """Shows on stderr how many rows are answered; see swift.run.infer.Show."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = self._total = self._tokens = 0
        self._begin = self._last = 0.0

    def begin(self, done: int, total: int) -> None:
        """Begin after `done` rows of `total`."""
        self._done, self._total = done, total
        self._begin = self._last = time.monotonic()
        if done:
            print(f"{done} of {total} rows were answered before", file=sys.stderr)
        if sys.stderr.isatty() and done < total:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, file=sys.stderr, unit="row")

    def row(self, tokens: int) -> None:
        """Count one row with so many new tokens."""
        self._done += 1
        self._tokens += tokens
        now = time.monotonic()
        speed = f"{self._tokens / max(now - self._begin, 1e-9):,.0f}"
        if self._bar is not None:
            self._bar.set_postfix({"tok/s": speed}, refresh=False)
            self._bar.update(1)
        elif now - self._last >= _PLAIN_EVERY:
            self._last = now
            print(f"row {self._done}/{self._total}  tok/s {speed}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
