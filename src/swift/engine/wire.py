"""Requests and deltas as JSON: between an engine that is served and whoever asks it from afar.

Numbers come back to the last bit, and every option of a Sampling goes, none by a default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from swift.engine import Delta, Request, Sampling, TokenLogprob

if TYPE_CHECKING:
    from swift.chat.speaker import Speaker

ANSWERS, MODEL, WEIGHTS, HEALTH = "/swift/answers", "/swift/model", "/swift/weights", "/health"
"""The routes: POST requests, GET what is served, PUT other weights, GET how it is."""

MOST = 1024
"""Answers of one POST."""

LONGEST = 4 << 20
"""Bytes that a POST should not pass."""

HALF = "weights_half"
"""The code of a refusal while only a part of new weights is there."""

PIECE = 64 << 20
"""Bytes of weights that are sent at once; one that is larger goes by itself."""


class Head(BaseModel):
    """The first line of the body that brings new weights; a safetensors file comes after it."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str = Field(min_length=1, max_length=64)
    """The same for all parts of an exchange."""

    part: int = Field(ge=0)
    """Number of the part, from 0."""

    last: bool
    """Whether the weights are whole with it."""

    version: int = Field(ge=0)
    """Of the weights, once they are whole."""

    adapter: dict[str, Any] | None = None
    """adapter_config.json, where the file is an adapter; None: it holds weights by their names."""


_samplings = TypeAdapter(list[Sampling])
_prompts = TypeAdapter(list[tuple[list[int], NonNegativeInt]])


def asked(requests: Sequence[Request]) -> bytes:
    """Return the body that asks for answers; what many requests share is said once."""
    kinds: dict[str, int] = {}
    prompts = []
    for request in requests:
        kind = request.sampling.model_dump_json(exclude_defaults=True)
        prompts.append((list(request.ids), kinds.setdefault(kind, len(kinds))))
    stream = any(request.stream for request in requests)
    head = {"stream": stream, "prompts": prompts}
    samplings = ",".join(kinds)
    return f'{{"samplings":[{samplings}],{json.dumps(head)[1:]}'.encode()


def requests_of(raw: bytes) -> list[Request]:
    """Return what a body asks for.

    Raises:
        ValueError: It is none; says why.
    """
    try:
        said = json.loads(raw)
        samplings = _samplings.validate_python(said["samplings"])
        prompts = _prompts.validate_python(said["prompts"])
        stream = bool(said["stream"])
        found = [Request(ids=ids, sampling=samplings[k], stream=stream) for ids, k in prompts]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"`{place}`: {first['msg']}") from None
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"the body is no list of prompts: {error!r}") from None
    if not 0 < len(found) <= MOST:
        raise ValueError(f"a body asks for 1 to {MOST} answers, not {len(found)}")
    return found


def line_of(index: int, delta: Delta) -> bytes:
    """Return what is new of answer `index`, as a line."""
    said = {
        "i": index,
        "text": delta.text,
        "ids": delta.ids,
        "logprobs": delta.logprobs,
        "finish": delta.finish,
        "error": delta.error,
        "version": delta.version,
    }
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def delta_of(said: dict[str, Any]) -> tuple[int, Delta]:
    """Return the index and what is new of that answer, from a line's JSON.

    Raises:
        ValueError: It is something else.
    """
    try:
        told = [
            TokenLogprob(int(id), float(logprob), tuple((int(i), float(p)) for i, p in top))
            for id, logprob, top in said["logprobs"]
        ]
        delta = Delta(
            text=str(said["text"]),
            ids=tuple(map(int, said["ids"])),
            logprobs=tuple(told),
            finish=said["finish"],
            error=str(said["error"]),
            version=int(said["version"]),
        )
        return int(said["i"]), delta
    except (LookupError, TypeError) as error:
        raise ValueError(f"no delta: {error!r}") from None


def fingerprint(speaker: Speaker) -> str:
    """Return what two speakers share whose ids mean the same, and whose answers end alike."""
    tokenizer = speaker.tokenizer
    vocabulary: dict[str, int] = tokenizer.backend.get_vocab(with_added_tokens=True)
    digest = hashlib.sha256()
    for token, id in sorted(vocabulary.items()):
        digest.update(f"{id} {token}\n".encode("utf-8", errors="surrogatepass"))
    digest.update(json.dumps([sorted(speaker.stop_ids), speaker.stops]).encode())
    return digest.hexdigest()[:16]
