"""The server's life: a port, the word that it is ready, and an end that leaves nobody without."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from swift.core.errors import Interrupted, MachineError, Problem, RecipeError
from swift.engine import Engine
from swift.recipe.sections import Serve
from swift.serve.app import App
from swift.serve.door import is_loopback

_KEEP_ALIVE = 65
"""Seconds that an idle connection is kept: longer than clients keep theirs, so that no request
goes out on one that is being closed."""

_LAST_BYTES = 10
"""Seconds that a client has to take the rest of its answer when the server ends."""


def bind(options: Serve) -> socket.socket:
    """Return a socket that listens where the options say; connections wait until they are served.

    Raises:
        RecipeError: Others than this machine could ask, without any key.
        MachineError: The port is taken, or the address is not this machine's.
    """
    if not is_loopback(options.host) and options.api_key is None:
        what = f"`{options.host}` is open to other machines, and there is no key"
        fix = "serve.api_key: a secret of at least 8 letters, or serve.host: 127.0.0.1"
        raise RecipeError(Problem(where="serve.host", what=what, fix=fix))
    host = options.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = sorted(found, key=lambda f: f[0] != socket.AF_INET)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        what = f"port {options.port} of {options.host} cannot be had: {error.strerror}"
        fix = "--port 0 (any free one), or another --port"
        raise MachineError(Problem(where="serve.port", what=what, fix=fix)) from error
    return listener


def serve(
    engine: Engine,
    options: Serve,
    *,
    say: Callable[[str], None],
    listener: socket.socket | None = None,
) -> None:
    """Answer requests until a signal asks for the end; then answer what runs, and no more.

    A second signal ends the process at once.

    Args:
        engine: The opened model; it is closed at the end.
        options: Where to listen, and who may ask.
        say: Gets one line when the first request can be answered.
        listener: From `bind`, where a taken port is to be known before the model is opened.

    Raises:
        Interrupted: It was SIGINT that asked; SIGTERM is an ordinary end.
        RecipeError: As `bind`.
        MachineError: As `bind`.
    """
    listener = bind(options) if listener is None else listener
    app = App(engine, options)
    server = Server(app, say=lambda: say(ready_line(listener, app.name)))
    try:
        server.run(sockets=[listener])
    finally:
        engine.close()
    if server.asked == signal.SIGINT:
        raise Interrupted("interrupted; every request was answered")


def ready_line(listener: socket.socket, name: str) -> str:
    """Return what is said when requests are answered."""
    host, port = listener.getsockname()[:2]
    return f"ready: http://{f'[{host}]' if ':' in host else host}:{port}/v1  model {name}"


class Server(uvicorn.Server):
    """uvicorn, which ends only after the engine has answered everything."""

    def __init__(self, app: App, *, say: Callable[[], None]) -> None:
        """Prepare to serve `app`; `say` is called when requests are answered."""
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_LAST_BYTES,
        )
        super().__init__(config)
        self.asked = 0
        """The signal that asked for the end; 0 for none."""

        self._app, self._say = app, say
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that requests are answered, once they are."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self._say()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first one asks for the end, the second one gets it at once."""
        if self.asked:
            sys.stdout.flush()
            os._exit(128 + sig)
        self.asked = sig
        if self.started:
            self._loop.call_soon_threadsafe(self.drain)
        else:
            self.should_exit = True

    def drain(self) -> None:
        """Take no more requests, and end when all have been answered; on the loop's thread."""
        self._app.draining = True
        self._drain = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        await asyncio.to_thread(self._app.engine.close, True)
        self.should_exit = True
