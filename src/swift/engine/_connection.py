"""A connection to a server of ours, from a thread of its own: whoever is missing is named."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from httpx2 import (
    AsyncClient,
    ConnectError,
    HTTPError,
    InvalidURL,
    Limits,
    Response,
    TimeoutException,
    UnsupportedProtocol,
)

from swift.core.errors import MachineError, Problem, SwiftError, UserError
from swift.engine.wire import HALF

if TYPE_CHECKING:
    from swift.engine.server import Server

T = TypeVar("T")

AGAIN = 0.25
"""Seconds until a busy server is asked anew."""

_HERE = ("127.0.0.1", "::1", "localhost")


class Busy(Exception):  # noqa: N818 - it is no error
    """The server lives, and takes nothing now."""


class Connection:
    """Asks one server. Nothing here waits longer than `timeout` without a word of it."""

    def __init__(self, options: Server) -> None:
        """Start the thread; nothing is asked yet."""
        self.place, self._seconds = options.place, options.timeout
        base = options.url.rstrip("/").removesuffix("/v1")
        key = options.password()
        self._key = key
        self._client = AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=options.timeout,
            limits=Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=urlsplit(base).hostname not in _HERE,  # never through a proxy to itself
        )
        self.heard = 0.0
        """When a line came last, by time.monotonic()."""

        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.name = "swift-server-engine"
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self.loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the connection's thread and return what it returns."""
        if self.closed:
            work.close()
            raise UserError(Problem(where="prompt", what="the engine is closed"))
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # harmless where it has ended
            raise

    async def json(self, path: str) -> dict[str, Any]:
        """Return what a GET is answered with. A server that is about to end counts as missing."""
        async with self._named(), asyncio.timeout(self._seconds):
            answer = await self._client.get(path)
            if answer.status_code != 200:
                self._refused(answer)
            if (said := _object(answer.content)) is None:
                raise self.missing("gave an answer that is none of swift's")
        return said

    async def lines(
        self, method: str, path: str, body: bytes | AsyncIterable[bytes]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the JSON of each line of the answer, as it comes. Empty lines are signs of life.

        Raises:
            Busy: It asks to come again; nothing was done.
            UserError: It refuses.
            MachineError: It is missing, or failed; says which.
        """
        async with (
            self._named(),
            self._client.stream(method, path, content=body) as answer,
        ):
            if answer.status_code != 200:
                await answer.aread()
                self._refused(answer)
            async for line in answer.aiter_lines():
                self.heard = monotonic()
                if not line:
                    continue
                said = _object(line)
                if said is None:
                    raise self.missing("gave an answer that is none of swift's")
                if isinstance(error := said.get("error"), dict):
                    self._failed(int(error.get("status") or 500), str(error.get("message")))
                yield said

    def missing(self, what: str) -> MachineError:
        """Return the error that names the server."""
        what = f"the server {self.place} {what}"
        fix = "start it again: swift serve MODEL --sync"
        return MachineError(Problem(where="engine.url", what=what, fix=fix))

    def close(self) -> None:
        """Let the connections and the thread go."""
        if self.closed:
            return
        self.run(self._hang_up())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _hang_up(self) -> None:
        await self._client.aclose()
        await self.loop.shutdown_asyncgens()
        await asyncio.sleep(0)  # sockets are closed in the loop's next round

    @asynccontextmanager
    async def _named(self) -> AsyncIterator[None]:
        """Turn what the network says into an error that names the server."""
        try:
            yield
        except (TimeoutException, TimeoutError):
            raise self.missing(f"gave no answer in {self._seconds:g} s") from None
        except (HTTPError, InvalidURL) as error:
            what = "cannot be reached" if isinstance(error, _NEVER) else "broke off"
            said = f"{type(error).__name__} {error}".strip()
            raise self.missing(f"{what}: {said}") from None

    def _refused(self, answer: Response) -> None:
        """Raise what a status other than 200 means."""
        said = _object(answer.content)
        error = said.get("error") if said else None
        told = error if isinstance(error, dict) else {}
        message = str(told.get("message") or " ".join(answer.text.split())[:200])
        if answer.status_code == 429 or told.get("code") == HALF:
            raise Busy(message)
        self._failed(answer.status_code, message)

    def _failed(self, status: int, message: str) -> None:
        message = message.replace(self._key, "***") if self._key else message
        if status >= 500:
            raise self.missing(f"answers {status}: {message}")
        what = f"the server {self.place} answers {status}: {message}"
        raise UserError(Problem(where="engine.url", what=what, fix=_FIXES.get(status, "")))


_NEVER = (ConnectError, InvalidURL, UnsupportedProtocol)
"""What the network says of a server that it never reached."""

_FIXES = {
    401: "engine.key: the name of the variable that holds its key",
    404: "give the address of a `swift serve` of this version",
}


def _object(text: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object; None where it is something else."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def first_of(error: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return an error of ours among many, or the first."""
    inner = [first_of(e) if isinstance(e, BaseExceptionGroup) else e for e in error.exceptions]
    return next((e for e in inner if isinstance(e, SwiftError)), inner[0])
