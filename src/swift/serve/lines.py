"""Answers in lines of JSON, with a sign of life while there is nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from swift.engine import Engine
from swift.serve.answers import dump
from swift.serve.refusal import Refusal

BEAT = 1.0
"""Seconds between two signs of life."""

_HEADERS = [(b"content-type", b"application/x-ndjson"), (b"x-accel-buffering", b"no")]

T = TypeVar("T")


class Source(Protocol):
    """What an answer is made of."""

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more."""

    def lines(self) -> AsyncIterator[bytes]:
        """Yield lines; no bytes for a sign of life."""


class Lines:
    """An ASGI answer of lines. What fails after its beginning is told in its last one."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with suppress(asyncio.CancelledError):  # the server's end, to those who do not read
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            try:
                async for line in self._source.lines():
                    await send(_body(line or b"\n", more=True))
            except Refusal as refusal:
                error = {"status": refusal.status, "message": refusal.message}
                await send(_body(dump({"error": error}) + b"\n", more=True))
            if not self._source.gone:
                await send(_body(b"", more=False))


class Pulse:
    """Tells whether an engine moves: a server whose engine stands still gives no sign of life."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._steps: int | None = -1

    def beats(self) -> bool:
        """Return whether it did a step since the last look, or does not tell its steps."""
        before, self._steps = self._steps, self._engine.load().steps
        return self._steps is None or self._steps != before


async def awaited(task: asyncio.Task[T], beats: Callable[[], bool]) -> AsyncIterator[None]:
    """Yield at every beat until `task` is done; it goes on where nobody waits for it."""
    while not (await asyncio.wait({task}, timeout=BEAT))[0]:
        if beats():
            yield None


def _body(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}
