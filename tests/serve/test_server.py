"""The server's life: what is said, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from swift.core.errors import Interrupted
from swift.recipe.sections import Serve
from swift.serve.app import App
from swift.serve.server import Server, bind, ready_line, serve
from tests.kit import tiny_chat_model
from tests.serve.live import Fake


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake.on(tiny_chat_model(tmp_path))


def test_what_is_said_is_where_a_client_asks() -> None:
    with bind(Serve(port=0)) as listener:
        port = listener.getsockname()[1]
        assert ready_line(listener, "x") == f"ready: http://127.0.0.1:{port}/v1  model x"


def test_a_port_is_bound_once_and_free_again_at_once() -> None:
    with bind(Serve(port=0)) as listener:
        port = listener.getsockname()[1]
    bind(Serve(port=port)).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_engine_and_ctrl_c_says_so(fake: Fake, number: signal.Signals) -> None:
    drained = threading.Event()
    fake.close = lambda drain=False: drained.set() if drain else None  # type: ignore[method-assign]
    said: list[str] = []

    def ready(line: str) -> None:
        said.append(line)
        os.kill(os.getpid(), number)

    if number == signal.SIGINT:
        with pytest.raises(Interrupted):
            serve(fake, Serve(port=0, name="mine"), say=ready)
    else:
        serve(fake, Serve(port=0, name="mine"), say=ready)
    assert drained.is_set()
    assert said[0].endswith("model mine")


def test_a_second_signal_ends_at_once(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    server = Server(App(fake, Serve(port=0)), say=lambda: None)
    server.handle_exit(signal.SIGTERM, None)
    assert codes == []
    server.handle_exit(signal.SIGINT, None)
    assert codes == [130]
