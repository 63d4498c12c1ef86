"""A server that is killed, hangs, ends or fails is named within its time-out; a slow one is not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.chat.speaker import Speaker
from swift.core.errors import MachineError
from swift.engine import Delta, Load, Request, Sampling
from swift.engine._server import ServerEngine
from swift.serve import lines
from tests.engine.test_server import Heard, afar, drawn, of
from tests.kit import tiny_chat_model
from tests.serve.live import DEADLINE, Fake, Process, serving

ENDLESS = Request(ids=[5], sampling=Sampling(max_tokens=200, ignore_eos=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def process(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Process]:
    with Process(str(folder), "--port", "0") as started:
        yield started


@pytest.mark.slow
def test_a_server_killed_in_mid_request_is_named_and_asked_again_when_it_is_back(
    process: Process, folder: Path
) -> None:
    engine = afar(process, folder)
    with pytest.raises(MachineError, match=f"the server http://127.0.0.1:{process.port} "):
        _generate_and(engine, process, signal.SIGKILL)
    with pytest.raises(MachineError, match=r"cannot be reached|broke off"):
        engine.load()
    with Process(str(folder), "--port", str(process.port)):
        assert engine.version == 0
        assert engine.generate([drawn(0)])[0].finish
    engine.close()


@pytest.mark.slow
def test_a_server_that_hangs_is_named_within_its_time_out(process: Process, folder: Path) -> None:
    engine = afar(process, folder, timeout=2.0)
    begun = time.monotonic()
    with pytest.raises(MachineError, match="gave no answer in 2 s"):
        _generate_and(engine, process, signal.SIGSTOP)
    assert time.monotonic() - begun < 2 * 2.0 + 5  # to begin, to stop it, and the time-out
    with pytest.raises(MachineError, match="gave no answer in 2 s"):
        _ = engine.version
    os.kill(process.child.pid, signal.SIGCONT)
    assert engine.version == 0
    engine.close()


def _generate_and(engine: ServerEngine, process: Process, number: signal.Signals) -> None:
    """Ask for more than can be had soon, and send the server a signal while it answers."""

    def strike() -> None:
        while process.health()[0] == 0:
            time.sleep(0.01)
        os.kill(process.child.pid, number)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        engine.generate([ENDLESS] * 400)
    finally:
        thread.join()


def test_a_slow_server_that_moves_is_not_missing_one_that_stands_still_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BEAT", 0.05)
    fake = Moving(of(folder), Speaker.load(folder))
    fake.answer = lambda request: None
    with serving(fake) as live:
        engine = afar(live, folder, timeout=0.4)
        (delta,) = engine.generate([ENDLESS])
        assert delta.text == "late"
        fake.moves = False
        with pytest.raises(MachineError, match=r"gave no answer in 0\.4 s"):
            engine.generate([ENDLESS])
        engine.close()


class Moving(Fake):
    """Answers at the thirtieth look at it, 1.5 s after it was asked."""

    moves = True
    looks = 0

    def load(self) -> Load:
        self.looks += self.moves
        if self.looks == 30:
            self.deliver[0](Delta(text="late", finish="stop"))
        return Load(running=1, waiting=0, blocks=0, blocks_total=8, steps=self.looks)


def test_a_server_about_to_end_counts_as_missing(folder: Path) -> None:
    with serving(Fake.on(folder)) as live:
        engine = afar(live, folder)
        live.app.draining = True
        with pytest.raises(MachineError, match=r"answers 503: .*draining"):
            engine.load()
        with pytest.raises(MachineError, match=r"answers 503: the server is about to end"):
            engine.generate([ENDLESS])
        engine.close()


def test_a_broken_answer_names_the_server(folder: Path) -> None:
    fake = Fake.on(folder)
    fake.answer = lambda request: Delta(finish="error", error="out of memory")
    with serving(fake) as live:
        engine = afar(live, folder)
        with pytest.raises(MachineError, match="answers 500: the server failed at this answer"):
            engine.generate([ENDLESS])
        heard = Heard()
        engine.submit(ENDLESS, heard)
        assert heard.done.wait(DEADLINE)
        assert heard.deltas[0].finish == "error"
        assert "answers 500" in heard.deltas[0].error
        engine.close()
