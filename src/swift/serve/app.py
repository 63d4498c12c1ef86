"""The routes: from an HTTP request to the engine and back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from swift.core.errors import DataError
from swift.engine import Engine
from swift.engine import Request as Wanted
from swift.engine.wire import ANSWERS, MODEL, WEIGHTS
from swift.recipe.sections import Serve
from swift.serve.answers import Shape, dump, usage
from swift.serve.asking import Asking
from swift.serve.calls import Calls
from swift.serve.choice import Choice, chosen
from swift.serve.defaults import sampling_defaults
from swift.serve.door import OPEN, Door
from swift.serve.refusal import Refusal
from swift.serve.rollout import Rollout
from swift.serve.stream import Stream
from swift.serve.tokens import Tokens
from swift.serve.weights import Weights
from swift.serve.wire import Body, ChatBody, CompletionBody, Prompt, read

MAX_BYTES = 8 << 20
"""The longest body."""

_LONG = 1 << 15
"""Bytes of a body from which on its tokens are counted beside the loop, which others need."""

T = TypeVar("T")

_log = logging.getLogger("swift.serve")


class App:
    """An ASGI application in front of one engine."""

    def __init__(self, engine: Engine, options: Serve) -> None:
        """Serve `engine` under the name that the options give it, or its own."""
        self.engine = engine
        self.draining = False
        """Whether new requests are refused, since the server is about to end."""

        self.name = options.name or engine.served.id
        self._door = Door(options.host, options.api_key)
        self._max_waiting = options.max_waiting
        self._defaults = sampling_defaults(engine.served.folder)
        self._tokenizer = engine.speaker.tokenizer
        self._vocabulary = self._tokenizer.size
        self._tokens = Tokens(self._tokenizer)
        self._created = int(time.time())
        self._weights = Weights(engine)
        self._rollout = Rollout(engine, self._admit)
        self._routes: dict[str, tuple[str, Callable[[Request], Awaitable[ASGIApp | None]]]] = {
            "/v1/completions": ("POST", self._completions),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/models": ("GET", self._models),
            OPEN: ("GET", self._health),
            ANSWERS: ("POST", self._rollout_answers),
            MODEL: ("GET", self._rollout_model),
        }
        if options.sync:
            self._routes[WEIGHTS] = ("PUT", self._rollout_weights)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            return
        except Refusal as refusal:
            response = _refused(refusal)
        except Exception:  # whatever it is, the client must hear of it, and nothing about it
            _log.exception("a request failed")
            response = _refused(Refusal(500, "the server made a mistake; its log says which"))
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp | None:
        path = request.scope["path"]
        self._door.check(path, Headers(scope=request.scope))
        method, route = self._routes.get(path, ("GET", None))
        if route is None and path.startswith("/v1/models/"):
            route = self._model
        if route is None:
            raise Refusal(404, f"there is nothing at `{path}`", code="not_found")
        if request.method != method:
            message = f"`{path}` takes {method}, not {request.method}"
            raise Refusal(405, message, code="method_not_allowed", allow=method)
        return await route(request)

    # --- the routes --------------------------------------------------------------------------

    async def _completions(self, request: Request) -> ASGIApp | None:
        raw = await _body(request)
        body = read(CompletionBody, raw)
        self._check(body)
        prompts = body.prompts()
        ids = await _beside(len(raw), lambda: [self._ids(prompt) for prompt in prompts])
        heads = [self._text(prompt) for prompt in prompts] if body.echo else [""] * len(prompts)
        return await self._generate(request, body, ids, heads, "prompt")

    async def _chat(self, request: Request) -> ASGIApp | None:
        raw = await _body(request)
        body = read(ChatBody, raw)
        self._check(body)
        speaker = self.engine.speaker
        messages, tools, told = body.conversation(), body.offered(), body.template_options()
        choice = chosen(body.tool_choice, body.parallel_tool_calls, tools, speaker.calls)
        begun = choice.begun(speaker.calls) if speaker.calls else ""
        if begun:  # a call is the first thing said: whoever thinks aloud would think on in it
            told = {"enable_thinking": False, **told}
        try:  # beside the loop: a template is the model's own program
            ids = await asyncio.to_thread(lambda: [speaker.chat(messages, tools, begun, **told)])
        except DataError as error:
            raise Refusal(400, error.problems[0].what, param="messages") from error
        return await self._generate(
            request, body, ids, [""], "messages", self._calls(tools, choice)
        )

    async def _models(self, request: Request) -> Response:
        return _json({"object": "list", "data": [self._card()]})

    async def _model(self, request: Request) -> Response:
        self._check_name(request.scope["path"].removeprefix("/v1/models/"))
        return _json(self._card())

    async def _health(self, request: Request) -> Response:
        load = self.engine.load()
        status = "draining" if self.draining else "ok"
        busy = {"running": load.running, "waiting": load.waiting}
        cache = {"blocks": load.blocks, "blocks_total": load.blocks_total}
        version = {"version": self._weights.version}
        code = 503 if self.draining else 200
        return _json({"status": status, **busy, **cache, **version}, code)

    async def _rollout_answers(self, request: Request) -> ASGIApp:
        return await self._rollout.answer(await _body(request), request)

    async def _rollout_model(self, request: Request) -> Response:
        sync, version = WEIGHTS in self._routes, self._weights.version
        said = {"id": self.name, "tokens": await self._rollout.tokens()}
        return _json({**said, "sync": sync, "version": version})

    async def _rollout_weights(self, request: Request) -> ASGIApp:
        self._check_open()
        return await self._weights.take(request)

    # --- what they share ---------------------------------------------------------------------

    async def _generate(
        self,
        request: Request,
        body: Body,
        prompts: Sequence[Sequence[int]],
        heads: Sequence[str],
        param: str,
        calls: Callable[[], Calls] | None = None,
    ) -> ASGIApp | None:
        """Answer each prompt `n` times; None where the client has left."""
        n = body.n or 1
        wanted = self._wanted(body, prompts, n)
        self._admit(len(wanted))
        asking = Asking(self.engine, wanted, request.receive)
        asking.submit(param)
        chat = isinstance(body, ChatBody)
        told = [one.ids for one in wanted] if body.return_token_ids else ()
        shape = Shape(model=self.name, tokens=self._tokens, chat=chat, calls=calls, prompts=told)
        heads = [head for head in heads for _ in range(n)]
        size = sum(map(len, prompts))
        if body.stream:
            return Stream(asking, shape, heads, size if body.usage_wanted else None)
        async with asking:
            answers = await asking.answers()
        if asking.gone:
            return None
        made = sum(len(answer.ids) for answer in answers)
        return Response(shape.whole(answers, heads, usage(size, made)), media_type=_JSON)

    def _calls(
        self, tools: Sequence[Mapping[str, Any]], choice: Choice
    ) -> Callable[[], Calls] | None:
        """Return what makes readers of calls, where tools are offered and the model has a way.

        A model that speaks in messages is always read: its thoughts are not meant for people.
        """
        style = self.engine.speaker.calls
        wanted = style is not None and (tools or style.channels)
        return partial(Calls, style, tools, choice) if style and wanted else None

    def _wanted(self, body: Body, prompts: Sequence[Sequence[int]], n: int) -> list[Wanted]:
        """Return what the engine is asked for; answer i of a prompt has the seed `seed` + i."""
        sampling = body.sampling(self._defaults)
        seeds = [None if sampling.seed is None else sampling.seed + i for i in range(n)]
        each = [sampling.model_copy(update={"seed": seed}) for seed in seeds]
        stream = bool(body.stream)
        return [Wanted(ids=ids, sampling=s, stream=stream) for ids in prompts for s in each]

    def _check(self, body: Body) -> None:
        """Refuse another model's name, and tokens that there are none of."""
        if body.model is not None:
            self._check_name(body.model)
        named = {"logit_bias": body.logit_bias or (), "stop_token_ids": body.stop_token_ids or ()}
        for param, ids in named.items():
            if any(id >= self._vocabulary for id in ids):
                message = f"`{param}` has an unknown token: ids are below {self._vocabulary}"
                raise Refusal(400, message, param=param)

    def _check_name(self, name: str) -> None:
        if name != self.name:
            message = f"the model `{name}` is not served here; `{self.name}` is"
            raise Refusal(404, message, param="model", code="model_not_found")

    def _admit(self, count: int) -> None:
        """Refuse what would wait too long. Nothing is awaited between this and the submission."""
        self._check_open()
        self._weights.check()
        waiting = self.engine.load().waiting
        if waiting and waiting + count > self._max_waiting:
            raise Refusal(429, f"{waiting} requests wait already; try again later")

    def _check_open(self) -> None:
        if self.draining:
            raise Refusal(503, "the server is about to end and takes no more requests")

    def _ids(self, prompt: Prompt) -> Sequence[int]:
        return self.engine.speaker.text(prompt) if isinstance(prompt, str) else prompt

    def _text(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else self._tokenizer.decode(prompt)

    def _card(self) -> dict[str, Any]:
        card = {"id": self.name, "object": "model", "created": self._created}
        return {**card, "owned_by": "swift"}


_JSON = "application/json"


def _json(body: Any, status: int = 200) -> Response:
    return Response(dump(body), status, media_type=_JSON)


def _refused(refusal: Refusal) -> Response:
    response = _json(refusal.body(), refusal.status)
    if refusal.allow:
        response.headers["allow"] = refusal.allow
    return response


async def _body(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        Refusal: 413. What is too long by little is read to its end all the same: a client that
            still writes would miss the answer.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BYTES:
            parts.append(part)
        elif size > 4 * MAX_BYTES:
            break
    if size > MAX_BYTES:
        raise Refusal(413, f"a body has at most {MAX_BYTES >> 20} MiB")
    return b"".join(parts)


async def _beside(size: int, work: Callable[[], T]) -> T:
    """Do work on a body of `size` bytes: a long one in a thread, so that others are served."""
    return await asyncio.to_thread(work) if size > _LONG else work()
