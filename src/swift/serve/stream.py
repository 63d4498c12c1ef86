"""A stream of answers: server-sent events, as the engine delivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from swift.engine import Delta
from swift.serve.answers import DONE, Shape, event, usage
from swift.serve.asking import Asking
from swift.serve.refusal import Refusal

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would keep the answer until it is whole
]


class Stream:
    """An ASGI answer: sends what comes, together what came while the client was slow."""

    def __init__(
        self, asking: Asking, shape: Shape, heads: Sequence[str], prompt: int | None
    ) -> None:
        """Prepare to stream.

        Args:
            asking: Submitted, not yet entered.
            shape: How chunks are spelt.
            heads: What stands before each answer.
            prompt: Tokens of the prompts, where the usage is wanted.
        """
        self._asking, self._shape, self._heads = asking, shape, heads
        self._prompt = prompt
        self._made = 0
        self._offsets = [0] * len(heads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        # The server's end cancels those whose clients do not read; that is nobody's mistake.
        with suppress(asyncio.CancelledError):
            async with self._asking as asking:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                async for part in self._parts():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                if not asking.gone:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _parts(self) -> AsyncIterator[bytes]:
        yield b"".join(self._shape.first(i, head) for i, head in enumerate(self._heads))
        try:
            async for came in self._asking.deltas():
                parts = [self._next(i, delta) for i, delta in _joined(came).items()]
                if said := b"".join(parts):
                    yield said
        except Refusal as refusal:  # the status has been sent: the client's library reads this
            yield event(refusal.body())
            return
        if self._prompt is None:
            yield DONE
        else:
            yield self._shape.usage(usage(self._prompt, self._made)) + DONE

    def _next(self, index: int, delta: Delta) -> bytes:
        self._made += len(delta.ids)
        chunk = self._shape.next(index, delta, self._offsets[index])
        if delta.logprobs:
            self._offsets[index] += sum(self._shape.tokens.width(t.id) for t in delta.logprobs)
        return chunk


def _joined(came: Sequence[tuple[int, Delta]]) -> dict[int, Delta]:
    """Return what is new of each answer as one delta; tokens keep their log-probabilities."""
    found: dict[int, Delta] = {}
    for index, new in came:
        old = found.get(index)
        found[index] = new if old is None else _sum(old, new)
    return found


def _sum(old: Delta, new: Delta) -> Delta:
    return replace(
        new,
        text=old.text + new.text,
        ids=old.ids + new.ids,
        logprobs=old.logprobs + new.logprobs,
    )
