"""SIGINT and SIGTERM ask for the end; the step under way is finished and saved first."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Signals:
    """Within its block the first signal is remembered; a second Ctrl+C ends the process at once.

    A second SIGTERM does not: torchrun sends one to workers that a Ctrl+C has reached already.
    """

    def __init__(self) -> None:
        self.asked = 0
        """Number of the signal that asked for the end; 0 for none."""

    def __enter__(self) -> Signals:
        self._before = {s: signal.signal(s, self._on) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _on(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = self.asked or number

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
