"""What these tests share: a server in a thread, one as a process, and bare HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from swift.chat.speaker import Speaker
from swift.core.errors import Problem, UserError
from swift.engine import Delta, Engine, Fresh, Load, Request, Served
from swift.recipe.sections import Serve
from swift.serve.app import App
from swift.serve.server import Server, bind

DEADLINE = 60.0
"""Seconds after which whatever is waited for counts as never coming."""


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Look again and again, up to the deadline."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


@dataclass
class Fake:
    """An engine that does what a test tells it to."""

    served: Served
    speaker: Speaker
    asked: list[Request] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    deliver: dict[int, Callable[[Delta], None]] = field(default_factory=dict)
    waiting: int = 0
    answer: Callable[[Request], Delta | None] = lambda request: Delta(
        text="yes", ids=(1, 2), finish="stop"
    )
    """What a request gets at once; None: nothing before the test delivers something."""

    @classmethod
    def on(cls, model: Path) -> Fake:
        """Return one with the tokenizer and the template of a model."""
        served = Served(id="tiny", folder=model, speech=model, context=256)
        return cls(served, Speaker.load(model))

    def submit(self, request: Request, deliver: Callable[[Delta], None]) -> Callable[[], None]:
        if not request.ids:
            raise UserError(Problem(what="the prompt is empty", where="prompt"))
        number = len(self.asked)
        self.asked.append(request)
        self.deliver[number] = deliver
        delta = self.answer(request)
        if delta is not None:
            deliver(delta)
        return lambda: self.cancelled.append(number)

    def begin(
        self, requests: Sequence[Request], deliver: Callable[[int, Delta], None]
    ) -> Callable[[], None]:
        cancels: list[Callable[[], None]] = []

        def cancel() -> None:
            while cancels:
                cancels.pop(0)()

        try:
            for number, request in enumerate(requests):
                cancels.append(self.submit(request, partial(deliver, number)))
        except UserError:
            cancel()
            raise
        return cancel

    def generate(self, requests: Sequence[Request]) -> list[Delta]:
        raise NotImplementedError

    def sync(self, fresh: Fresh) -> None:
        raise NotImplementedError

    def load(self) -> Load:
        return Load(running=0, waiting=self.waiting, blocks=0, blocks_total=8)

    def close(self, drain: bool = False) -> None:
        """Nothing is open."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """A server that answers."""

    port: int
    app: App

    def ask(self, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Return status and JSON of one request: POST with a body, else GET."""
        return ask(self.port, path, body, **more)

    def text(self, path: str, body: Any) -> str:
        """Return what one POST is answered with, as it stands."""
        return text(self.port, path, body)


@contextmanager
def serving(engine: Engine, options: Serve | None = None) -> Iterator[Live]:
    """Serve an engine in a thread."""
    options = options or Serve(port=0)
    listener = bind(options)
    app = App(engine, options)
    ready = threading.Event()
    server = Server(app, say=ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        yield Live(port=listener.getsockname()[1], app=app)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def ask(
    port: int,
    path: str,
    body: Any = None,
    *,
    method: str = "",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """Return status and JSON of one request; `body` is bytes, or what JSON is made of."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method or ("GET" if raw is None else "POST"), path, raw, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def post(port: int, path: str, body: Any) -> socket.socket:
    """Send a request and return its socket, nothing read."""
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(raw)}\r\n\r\n"
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    sock.sendall(head.encode() + raw)
    return sock


def text(port: int, path: str, body: Any) -> str:
    """Return what one POST is answered with, as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("POST", path, json.dumps(body).encode())
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def events(port: int, path: str, body: Any) -> list[Any]:
    """Return what a stream says, each event's JSON; its last word must be [DONE]."""
    parts = text(port, path, {**body, "stream": True}).split("\n\n")
    said = [part.removeprefix("data: ") for part in parts if part]
    assert said.pop() == "[DONE]"
    return [json.loads(part) for part in said]


class Process:
    """`python -m swift.serve` with some words, ready."""

    def __init__(self, *words: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "swift.serve", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.child.stdout is not None
        self.line = self.child.stdout.readline()
        assert self.line.startswith("ready: http://"), self.child.communicate()
        self.url = self.line.split()[1]
        self.port = int(self.url.removesuffix("/v1").rpartition(":")[2])

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *raised: object) -> None:
        self.child.kill()
        self.child.communicate()

    def health(self) -> tuple[int, int, int]:
        """Return (running, waiting, blocks)."""
        _, said = ask(self.port, "/health")
        return said["running"], said["waiting"], said["blocks"]

    def resident(self) -> float:
        """Return its memory in MB."""
        line = next(
            line
            for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )
        return int(line.split()[1]) / 1024
