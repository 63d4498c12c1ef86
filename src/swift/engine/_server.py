"""The server engine at work: what is asked here is answered elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from swift.chat.speaker import Speaker
from swift.core.errors import PlanError, Problem, SwiftError, UserError
from swift.engine import Delta, Fresh, Load, Request, Served
from swift.engine._connection import AGAIN, Busy, Connection, first_of
from swift.engine._parts import Part, parts, sent
from swift.engine.wire import (
    ANSWERS,
    HEALTH,
    LONGEST,
    MODEL,
    MOST,
    WEIGHTS,
    asked,
    delta_of,
    fingerprint,
)

if TYPE_CHECKING:
    from swift.engine.server import Server


class ServerEngine:
    """See swift.engine.Engine. `served` says which tokens and which context it is to have."""

    def __init__(self, served: Served, options: Server) -> None:
        """Ask the server what it serves; see `Server.open`."""
        self.served = served
        self.speaker = Speaker.load(served.speech, served.template)
        self._seconds = options.timeout
        self.asks: set[asyncio.Task[None]] = set()
        self._server = Connection(options)
        try:
            self._check_model(self._server.run(self._server.json(MODEL)))
        except BaseException:
            self._server.close()
            raise

    @property
    def version(self) -> int:
        """Of the weights there: 0 of a server begun anew, -1 while only a part of them is new.

        Raises:
            MachineError: It cannot be reached.
        """
        return int(self._server.run(self._server.json(HEALTH)).get("version", 0))

    def submit(self, request: Request, deliver: Callable[[Delta], None]) -> Callable[[], None]:
        """Ask for an answer. See Engine; what goes wrong there comes as a Delta "error"."""
        return self.begin([request], lambda number, delta: deliver(delta))

    def begin(
        self, requests: Sequence[Request], deliver: Callable[[int, Delta], None]
    ) -> Callable[[], None]:
        """Ask for answers that begin together. See Engine."""
        for request in requests:
            self._check(request)
        ask = _Ask(self, requests, deliver)
        loop = self._server.loop
        loop.call_soon_threadsafe(ask.start)

        def cancel() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ask.cancel)

        return cancel

    def generate(self, requests: Sequence[Request]) -> list[Delta]:
        """Return the whole answer of each request, in order.

        Raises:
            MachineError: The server is missing, or failed.
            UserError: It does not take a request.
        """
        for request in requests:
            self._check(request)
        found: dict[int, Delta] = {}
        self._server.run(self.hear(requests, found.__setitem__))
        return [found[i] for i in range(len(requests))]

    def sync(self, fresh: Fresh) -> None:
        """Send values of weights. See Engine."""
        if not self._server.run(self._server.json(MODEL)).get("sync"):
            what = f"the server {self._server.place} takes no other weights"
            raise PlanError(Problem(where="engine.url", what=what, fix="serve it with --sync"))
        for part in parts(fresh):
            self._server.run(self._patiently(partial(self._put, part)))

    def load(self) -> Load:
        """Return how busy it is."""
        said = self._server.run(self._server.json(HEALTH))
        names = ("running", "waiting", "blocks", "blocks_total")
        return Load(**{name: int(said.get(name, 0)) for name in names})

    def close(self, drain: bool = False) -> None:
        """End what is asked; the server goes on."""
        if not self._server.closed:
            self._server.run(self._end(drain))
            self._server.close()

    async def hear(self, requests: Sequence[Request], told: Callable[[int, Delta], None]) -> None:
        """Ask for answers, in as few POSTs as the server takes them in."""
        try:
            async with asyncio.TaskGroup() as group:
                for begin, end in _portions(requests):
                    post = partial(self._post, requests[begin:end], begin, told)
                    group.create_task(self._patiently(post))
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None

    async def _patiently(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Act, again while the server is busy, which it may say for as long as it may be silent."""
        begun = monotonic()
        while True:
            try:
                return await act()
            except Busy as busy:
                waited = monotonic() - max(begun, self._server.heard)
                if waited > self._seconds:
                    what = f"took nothing in {self._seconds:g} s: {busy}"
                    raise self._server.missing(what) from None
            await asyncio.sleep(AGAIN)

    async def _post(
        self, requests: Sequence[Request], begin: int, told: Callable[[int, Delta], None]
    ) -> None:
        left = set(range(len(requests)))
        async with aclosing(self._server.lines("POST", ANSWERS, asked(requests))) as lines:
            async for said in lines:
                index, delta = self._read(said)
                told(begin + index, delta)
                left -= {index} if delta.finish else set()
        if left:
            raise self._server.missing("broke off its answer")

    def _read(self, said: dict[str, Any]) -> tuple[int, Delta]:
        try:
            return delta_of(said)
        except ValueError as error:
            raise self._server.missing(f"gave an answer that is none of swift's: {error}") from None

    async def _put(self, part: Part) -> None:
        """Send one part of new weights, and wait until the server has taken it."""
        done = False
        try:
            async with aclosing(self._server.lines("PUT", WEIGHTS, sent(part))) as lines:
                async for _ in lines:
                    done = True
        except UserError as error:
            raise PlanError(error.problems) from None
        if not done:
            raise self._server.missing("broke off its answer")

    async def _end(self, drain: bool) -> None:
        if not drain:
            for task in self.asks:
                task.cancel()
        await asyncio.gather(*self.asks, return_exceptions=True)

    def _check(self, request: Request) -> None:
        """Refuse what no engine takes, before it is sent."""
        size, context = len(request.ids), self.served.context
        what = ""
        if self._server.closed:
            what = "the engine is closed"
        elif not size:
            what = "the prompt is empty"
        elif 0 < context <= size:
            what = f"the prompt has {size} tokens, but {context} is the most with its answer"
        if what:
            raise UserError(Problem(where="prompt", what=what))

    def _check_model(self, said: dict[str, Any]) -> None:
        ours, theirs = fingerprint(self.speaker), said.get("tokens")
        if ours == theirs:
            return
        what = (
            f"the server {self._server.place} serves {said.get('id')}, whose tokens are others"
            f" ({theirs}) than those of {self.served.id} ({ours}), or end answers otherwise"
        )
        fix = f"swift serve {self.served.id} --sync"
        raise PlanError(Problem(where="engine.url", what=what, fix=fix))


class _Ask:
    """Requests under way; their deltas come on the connection's thread."""

    def __init__(
        self,
        engine: ServerEngine,
        requests: Sequence[Request],
        deliver: Callable[[int, Delta], None],
    ) -> None:
        self._engine, self._requests, self._deliver = engine, requests, deliver
        self._task: asyncio.Task[None] | None = None
        self._left = set(range(len(requests)))

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._engine.hear(self._requests, self._hear))
        self._engine.asks.add(self._task)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _hear(self, index: int, delta: Delta) -> None:
        if delta.finish is not None:
            self._left.discard(index)
        self._deliver(index, delta)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._engine.asks.discard(task)
        error = None if task.cancelled() else task.exception()
        said = error.problems[0].what if isinstance(error, SwiftError) else repr(error)
        finish = Delta(finish="cancelled") if error is None else Delta(finish="error", error=said)
        for index in sorted(self._left):
            self._deliver(index, finish)


def _portions(requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
    """Yield where each POST begins and ends."""
    begin = size = 0
    for end, request in enumerate(requests):
        bytes_of = 8 * len(request.ids) + 256
        if end > begin and (end - begin == MOST or size + bytes_of > LONGEST):
            yield begin, end
            begin, size = end, 0
        size += bytes_of
    if requests:
        yield begin, len(requests)
