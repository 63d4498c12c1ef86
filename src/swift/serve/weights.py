"""Other weights for the served model, sent by whoever trains it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.requests import Request

from swift.core.errors import SwiftError
from swift.engine import Engine, Fresh
from swift.engine.wire import HALF, Head
from swift.serve.answers import dump
from swift.serve.lines import Lines, Pulse, awaited
from swift.serve.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = 16 << 30
"""Bytes of one part: its file lies on disk, one of its weights in memory."""

_HEAD = 4 << 20
"""Bytes of the line before it."""

_FILE = "adapter_model.safetensors"


class Weights:
    """Which weights the engine answers by, and their exchange."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._whole = 0
        self._next: tuple[str, int] | None = None
        """Exchange and number of the part that is to come."""

        self._taking = False
        self._half = False

    @property
    def version(self) -> int:
        """Of the weights; -1 while only a part of them is there."""
        return -1 if self._half else self._whole

    def check(self) -> None:
        """Refuse to answer by weights that are half of one version, half of another.

        Raises:
            Refusal: 503.
        """
        if self._half:
            message = "only a part of the new weights is there; they must be sent anew, whole"
            raise Refusal(503, message, code=HALF)

    async def take(self, request: Request) -> Lines:
        """Read one part, and return the answer during which it is put in.

        Raises:
            Refusal: It is broken or out of turn; nothing has changed.
        """
        folder = TemporaryDirectory(prefix="swift-weights-")
        try:
            head = await _spooled(request, Path(folder.name))
            fresh = await asyncio.to_thread(self._fresh, head, Path(folder.name))
            self._in_turn(head)
        except BaseException:
            folder.cleanup()
            raise
        return Lines(_Taken(self, head, fresh, folder))

    async def put(self, head: Head, fresh: Fresh) -> None:
        """Give a part to the engine; the turn is this exchange's."""
        self._half = self._half or not head.last
        try:
            await asyncio.to_thread(self._engine.sync, fresh)
        except BaseException:
            self._half, self._next = True, None
            raise
        else:
            self._next = None if head.last else (head.id, head.part + 1)
            if head.last:
                self._half, self._whole = False, head.version
        finally:
            self._taking = False

    def pulse(self) -> Pulse:
        """Return what tells whether the engine moves."""
        return Pulse(self._engine)

    def _in_turn(self, head: Head) -> None:
        """Take the turn: an exchange begins with its first part, and its parts come in order."""
        if self._taking:
            raise Refusal(503, "other weights are being put in; send these later", code=HALF)
        if head.part and self._next != (head.id, head.part):
            message = "it has not the parts before this one; send the weights anew, whole"
            raise Refusal(503, message)
        self._taking = True

    @staticmethod
    def _fresh(head: Head, folder: Path) -> Fresh:
        """Return what the engine is given; its files are known to be sound."""
        from safetensors import SafetensorError, safe_open

        file = folder / _FILE
        try:
            with safe_open(file, "pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise Refusal(400, f"the weights cannot be read: {error}") from None
        version = head.version if head.last else -1
        if head.adapter is None:
            return Fresh(version=version, weights=_read(file))
        (folder / "adapter_config.json").write_text(json.dumps(head.adapter), encoding="utf-8")
        return Fresh(version=version, adapter=folder)


class _Taken:
    """A part while it is put in, as lines."""

    gone = False

    def __init__(
        self, weights: Weights, head: Head, fresh: Fresh, folder: TemporaryDirectory[str]
    ) -> None:
        self._weights, self._folder = weights, folder
        self._task = asyncio.ensure_future(weights.put(head, fresh))
        self._task.add_done_callback(self._end)

    async def lines(self) -> AsyncIterator[bytes]:
        async for _ in awaited(self._task, self._weights.pulse().beats):
            yield b""
        try:
            self._task.result()
        except SwiftError as error:
            raise Refusal(400, error.problems[0].what) from error
        yield dump({"version": self._weights.version}) + b"\n"

    def _end(self, task: asyncio.Task[None]) -> None:
        self._folder.cleanup()
        if not task.cancelled():
            task.exception()  # it is told in the answer, if somebody still listens


async def _spooled(request: Request, folder: Path) -> Head:
    """Write the file after the first line to disk, and return what that line says."""
    line, size = b"", 0
    head: Head | None = None
    with (folder / _FILE).open("wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > _LONGEST:
                raise Refusal(413, f"a part has at most {_LONGEST >> 30} GiB")
            if head is not None:
                file.write(chunk)
                continue
            line += chunk
            before, found, rest = line.partition(b"\n")
            if found:
                head = _head(before)
                file.write(rest)
            elif len(line) > _HEAD:
                break
    if head is None:
        raise Refusal(400, "the body does not begin with a line that says what it is")
    return head


def _head(line: bytes) -> Head:
    try:
        return Head.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Refusal(400, f"the first line: `{place}`: {first['msg']}") from None


def _read(file: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            yield name, opened.get_tensor(name)
