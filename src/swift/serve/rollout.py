"""The route by which an engine elsewhere asks: many prompts in one request, answers as they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request

from swift.engine import Delta, Engine
from swift.engine.wire import fingerprint, line_of, requests_of
from swift.serve.asking import Asking
from swift.serve.lines import Lines, Pulse, awaited
from swift.serve.refusal import Refusal


class Rollout:
    """Answers of one engine to another's requests, which no default of ours changes."""

    def __init__(self, engine: Engine, admit: Callable[[int], None]) -> None:
        """Serve them.

        Args:
            engine: Who answers.
            admit: Refuses so many more answers, where they cannot be had now.
        """
        self._engine, self._admit = engine, admit
        self._tokens = ""

    async def answer(self, raw: bytes, request: Request) -> Lines:
        """Return the answers to a body.

        Raises:
            Refusal: It is none, or the engine does not take it.
        """
        try:
            wanted = await asyncio.to_thread(requests_of, raw)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        self._admit(len(wanted))
        asking = Asking(self._engine, wanted, request.receive)
        asking.submit("prompts")
        return Lines(_Told(asking, Pulse(self._engine)))

    async def tokens(self) -> str:
        """Return the fingerprint of the model's tokens."""
        if not self._tokens:
            self._tokens = await asyncio.to_thread(fingerprint, self._engine.speaker)
        return self._tokens


class _Told:
    """Answers under way, as lines."""

    def __init__(self, asking: Asking, pulse: Pulse) -> None:
        self._asking, self._pulse = asking, pulse

    @property
    def gone(self) -> bool:
        return self._asking.gone

    async def lines(self) -> AsyncIterator[bytes]:
        async with self._asking as asking:
            deltas = asking.deltas()
            while True:
                came = asyncio.create_task(_next(deltas))
                try:
                    async for _ in awaited(came, self._pulse.beats):
                        yield b""
                finally:
                    came.cancel()
                if not came.result():
                    return
                yield b"".join(line_of(index, delta) for index, delta in came.result())


async def _next(deltas: AsyncIterator[list[tuple[int, Delta]]]) -> list[tuple[int, Delta]]:
    """Return what comes next; nothing at the end."""
    async for came in deltas:
        return came
    return []
