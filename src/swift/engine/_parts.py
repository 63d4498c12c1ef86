"""New weights in parts, so that neither side of a network holds them all."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import DataError, Problem
from swift.engine.wire import PIECE, Head

if TYPE_CHECKING:
    from torch import Tensor

    from swift.engine import Fresh


@dataclass(frozen=True, kw_only=True)
class Part:
    """One PUT: what it is, and the safetensors file after it."""

    head: Head
    body: bytes | Path


def parts(fresh: Fresh) -> Iterator[Part]:
    """Yield a sync in parts: an adapter as its own, weights up to PIECE bytes or one by itself.

    Raises:
        DataError: The adapter's folder lacks a file.
    """
    id = uuid.uuid4().hex
    numbers = count()
    held: Part | None = None
    for adapter, body in _bodies(fresh):
        if held is not None:
            yield held
        head = Head(id=id, part=next(numbers), last=False, version=fresh.version, adapter=adapter)
        held = Part(head=head, body=body)
    assert held is not None
    yield replace(held, head=held.head.model_copy(update={"last": True}))


async def sent(part: Part) -> AsyncIterator[bytes]:
    """Yield the body of a PUT: a line of JSON, then the file."""
    yield part.head.model_dump_json().encode() + b"\n"
    if isinstance(part.body, bytes):
        view = memoryview(part.body)
        for begin in range(0, len(view), _CHUNK):
            yield bytes(view[begin : begin + _CHUNK])
        return
    with part.body.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


_CHUNK = 1 << 20


def _bodies(fresh: Fresh) -> Iterator[tuple[dict[str, Any] | None, bytes | Path]]:
    """Yield the adapter's configuration or None, and a safetensors file."""
    from safetensors.torch import save

    nothing = True
    if fresh.adapter is not None:
        nothing = False
        yield _adapter(fresh.adapter)
    for piece in _pieces(fresh.weights):
        nothing = False
        yield None, save(piece)
    if nothing:  # the version alone
        yield None, save({})


def _pieces(weights: Any) -> Iterator[dict[str, Tensor]]:
    piece: dict[str, Tensor] = {}
    size = 0
    for name, value in weights:
        if piece and size + value.nbytes > PIECE:
            yield piece
            piece, size = {}, 0
        # a view of a larger tensor, or one that shares its memory, would not be written
        piece[name] = value.detach().to("cpu", copy=True).contiguous()
        size += value.nbytes
    if piece:
        yield piece


def _adapter(folder: Path) -> tuple[dict[str, Any], Path]:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"the adapter cannot be read: {error}"
        raise DataError(Problem(where=str(folder), what=what)) from error
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        what = "the adapter lacks adapter_model.safetensors"
        raise DataError(Problem(where=str(folder), what=what))
    return config, weights
