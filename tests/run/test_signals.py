"""A signal is heard while something takes long."""

from __future__ import annotations

import threading

import pytest

from swift.core.errors import Interrupted
from swift.run.signals import heard


def test_what_is_done_in_time_is_returned() -> None:
    assert heard(lambda: 3, lambda: 0) == 3


@pytest.mark.parametrize("error", [ValueError, TimeoutError, SystemExit])
def test_what_it_raises_is_raised(error: type[BaseException]) -> None:
    def act() -> None:
        raise error("mine")

    with pytest.raises(error, match="mine"):
        heard(act, lambda: 0)


def test_a_signal_ends_the_wait_for_what_does_not_end() -> None:
    begun, end = threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        end.wait()

    try:
        with pytest.raises(Interrupted):
            heard(act, lambda: 15 if begun.is_set() else 0)
    finally:
        end.set()
