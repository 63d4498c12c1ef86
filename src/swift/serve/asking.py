"""One HTTP request at the engine: its answers come by mailbox, and end when the client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from swift.core.errors import UserError
from swift.engine import Delta, Engine, Request
from swift.serve.refusal import Refusal

if TYPE_CHECKING:
    from starlette.types import Receive

_log = logging.getLogger("swift.serve")


class Asking:
    """Answers under way. Within its block they are generated; whatever is left at its end is not.

    The engine's thread delivers into a deque and wakes the loop once, however much comes before
    the loop gets to it.
    """

    def __init__(self, engine: Engine, requests: Sequence[Request], receive: Receive) -> None:
        """Prepare to ask.

        Args:
            engine: Who answers.
            requests: What is wanted; an answer is known by its place here.
            receive: Tells of the client's leaving, once its body has been read.
        """
        self._engine, self._requests, self._receive = engine, requests, receive
        self._loop = asyncio.get_running_loop()
        self._came: deque[tuple[int, Delta]] = deque()
        self._wake = asyncio.Event()
        self._rung = False
        self._cancel: Callable[[], None] = lambda: None
        self._left = len(requests)
        self.gone = False
        """Whether the client has left."""

    def submit(self, param: str) -> None:
        """Submit everything, or nothing; the block is to be entered right after it.

        Args:
            param: The field that is to blame where the engine does not take a request.

        Raises:
            Refusal: 400; so it is.
        """
        try:
            self._cancel = self._engine.begin(self._requests, self._deliver)
        except UserError as error:
            longest = max(len(request.ids) for request in self._requests)
            too_long = 0 < self._engine.served.context <= longest
            code = "context_length_exceeded" if too_long else ""
            raise Refusal(400, error.problems[0].what, param=param, code=code) from error

    async def __aenter__(self) -> Asking:
        """Watch for the client's leaving."""
        self._watch = asyncio.create_task(self._until_gone())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.cancel()
        if self._left:
            self._cancel()

    async def deltas(self) -> AsyncIterator[list[tuple[int, Delta]]]:
        """Yield what has come, as (answer, what is new of it), until all have ended.

        Raises:
            Refusal: 500 or 503; an answer failed.
        """
        while self._left and not self.gone:
            await self._wake.wait()
            self._wake.clear()
            self._rung = False  # before the deque is emptied: what comes from now on rings again
            came: list[tuple[int, Delta]] = []
            while self._came:
                came.append(self._came.popleft())
            for _, delta in came:
                self._left -= delta.finish is not None
                self._check(delta)
            if came and not self.gone:
                yield came

    async def answers(self) -> list[Delta]:
        """Return each whole answer, of requests without `stream`; fewer if the client left."""
        found: dict[int, Delta] = {}
        async for came in self.deltas():
            found.update(came)
        return [found[number] for number in sorted(found)]

    def _deliver(self, number: int, delta: Delta) -> None:
        self._came.append((number, delta))
        if not self._rung:
            self._rung = True
            self._ring()

    def _ring(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the server has ended: nobody reads this any more
            self.gone = True

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._cancel()
        self._wake.set()

    def _check(self, delta: Delta) -> None:
        if delta.finish == "error":
            _log.error("an answer failed: %s", delta.error)
            raise Refusal(500, "the server failed at this answer; its log says why")
        if delta.finish == "cancelled" and not self.gone:
            raise Refusal(503, "the server ends before this answer does")
