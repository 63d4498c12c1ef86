"""The server engine: a model that another process serves, here or on another machine."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator

from swift.core.env import secret
from swift.core.errors import Problem, UserError
from swift.engine import Engine, EngineOptions, Served, engines


@engines.add("server")
class Server(EngineOptions):
    """Asks a model that `swift serve` serves elsewhere; training gives it the weights it learns.

    For the latter the server is started with `--sync`.
    """

    remote: ClassVar[bool] = True

    url: str = "http://127.0.0.1:8000"
    """Its address, as it says it when it is ready: http://127.0.0.1:8000/v1."""

    key: str = ""
    """Name of the environment variable that holds its key. empty: none is sent."""

    timeout: float = Field(default=240.0, ge=1)
    """Seconds without any word of it after which it counts as missing. However long an answer
    takes, a server that works on it gives one every second."""

    def open(self, served: Served) -> Engine:
        """Return the engine, once the server has said what it serves.

        Raises:
            UserError: Its key is not there, or refused.
            PlanError: It serves a model with other tokens, or is no swift.
            MachineError: It cannot be reached.
        """
        from swift.engine._server import ServerEngine

        return ServerEngine(served, self)

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/]+(/v1)?/?", url):
            raise ValueError("give it as the server says it: http://127.0.0.1:8000/v1")
        return url

    @property
    def place(self) -> str:
        """Where it is, for people: without a password that the address may hold."""
        return re.sub(r"//[^/@]*@", "//", self.url).rstrip("/").removesuffix("/v1")

    def password(self) -> str:
        """Return the key that is sent; empty for none.

        Raises:
            UserError: There is to be one, and is not.
        """
        if not self.key:
            return ""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key):
            what = "`key` is no name of an environment variable"  # it may be the key itself
            raise UserError(Problem(where="engine.key", what=what, fix="key: SWIFT_KEY"))
        if not (found := secret(self.key)):
            what = f"the server's key is to be in ${self.key}, which is empty"
            fix = f"export {self.key}=..."
            raise UserError(Problem(where="engine.key", what=what, fix=fix))
        return found
