"""SIGINT and SIGTERM ask for the end; the step under way is finished and saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import TypeVar

from swift.core.errors import Interrupted, Problem

T = TypeVar("T")

_LOOK = 0.2
"""Seconds between two looks at whether a signal came."""


class Signals:
    """Within its block the first signal is remembered; a second Ctrl+C ends the process at once.

    A second SIGTERM does not: torchrun sends one to workers that a Ctrl+C has reached already.
    """

    def __init__(self) -> None:
        self.asked = 0
        """Number of the signal that asked for the end; 0 for none."""

    def __enter__(self) -> Signals:
        # Python lets only the main thread take signals; a run in another one has none to mind.
        mine = threading.current_thread() is threading.main_thread()
        asking = (signal.SIGINT, signal.SIGTERM) if mine else ()
        self._before = {s: signal.signal(s, self._on) for s in asking}
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


def heard(act: Callable[[], T], asked_to_stop: Callable[[], int]) -> T:
    """Return what `act` returns, which may take long and is not worth finishing.

    It works in a thread of its own, so that a signal is heard at once. After one it is left to
    itself: its thread does not hold up the end.

    Raises:
        Interrupted: A signal asked for the end first.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(act())
        except BaseException as error:  # raised again below
            future.set_exception(error)

    threading.Thread(target=work, name="heard", daemon=True).start()
    while not asked_to_stop():
        try:
            return future.result(timeout=_LOOK)
        except TimeoutError:
            if future.done():  # it was `act` that raised it
                raise
    raise Interrupted(Problem(what="stopped as asked"))
