"""The torch engine at work: one thread, one forward a step, for all answers under way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swift.chat.speaker import Speaker
from swift.core.errors import MachineError, PlanError, Problem, UserError
from swift.engine import Delta, Fresh, Load, Request, Served
from swift.engine._answers import Answer, Queue
from swift.engine._open import Opened, dtype_of, open_model
from swift.engine._paged import Piece, Pool, Step, forward
from swift.engine._sample import choose, logprobs

if TYPE_CHECKING:
    from swift.engine.torch import Torch

_log = logging.getLogger("swift.engine")


class TorchEngine:
    """See swift.engine.Engine."""

    def __init__(self, served: Served, options: Torch) -> None:
        self.served = served
        self.speaker = Speaker.load(served.speech, served.template)
        dtype = dtype_of(options.dtype, served.device_map)
        opened = open_model(served, options.adapter, dtype)
        model: Any = opened.model
        self.model, self._device = model, opened.device
        self._renewal = opened.renewal
        self._vocabulary: int = model.get_input_embeddings().num_embeddings
        self._context = _context(served, options)
        self._pool = Pool(self._blocks(options, opened), options.block_size)
        self._context = min(self._context, self._pool.total * options.block_size)
        self._queue = Queue(self._pool, options.max_batch, options.max_step_tokens)
        self._inbox: SimpleQueue[list[Answer] | _Exchange | None] = SimpleQueue()
        self._exchange: _Exchange | None = None
        """Asked for, and done once nobody is answered."""

        self._steps = 0
        self._closed = self._drain = False
        self._thread = threading.Thread(target=self._work, name="swift-engine", daemon=True)
        self._thread.start()

    # --- asked from any thread ---------------------------------------------------------------

    def submit(self, request: Request, deliver: Callable[[Delta], None]) -> Callable[[], None]:
        """Queue a request. See Engine."""
        return self.begin([request], lambda number, delta: deliver(delta))

    def begin(
        self, requests: Sequence[Request], deliver: Callable[[int, Delta], None]
    ) -> Callable[[], None]:
        """Queue requests that begin together. See Engine.

        With nobody else there, each forward then reads the same tokens each time.
        """
        for request in requests:
            self._check(request)
        answers = [self._answer(r, partial(deliver, i)) for i, r in enumerate(requests)]
        if answers:
            self._inbox.put(answers)

        def cancel() -> None:
            for answer in answers:
                answer.cancel()

        return cancel

    def generate(self, requests: Sequence[Request]) -> list[Delta]:
        """Return the whole answer of each request, in order."""
        found: dict[int, Delta] = {}
        done = threading.Event()

        def keep(number: int, delta: Delta) -> None:
            found[number] = delta
            if len(found) == len(requests):
                done.set()

        cancel = self.begin(requests, keep)
        try:
            if requests:
                done.wait()
        except BaseException:
            cancel()
            raise
        return [found[i] for i in range(len(requests))]

    def sync(self, fresh: Fresh) -> None:
        """Exchange values of weights. See Engine."""
        if self._renewal is None:
            what = "a model that lies on several devices takes no other weights"
            raise PlanError(Problem(where="model.device_map", what=what, fix="give it one device"))
        exchange = _Exchange()
        self._inbox.put(exchange)
        while not exchange.idle.wait(1.0):
            if not self._thread.is_alive():  # it ended before it saw this
                raise _closed()
        try:  # here, not on the engine's thread: it may take all ranks to yield a weight
            if exchange.idle_forever:
                raise _closed()
            self._renewal.take(fresh)
            self._queue.version = fresh.version
        finally:
            exchange.done.set()

    def load(self) -> Load:
        """Return how busy it is."""
        return Load(
            running=len(self._queue.running),
            waiting=len(self._queue.waiting) + self._inbox.qsize(),
            blocks=self._pool.total - self._pool.free,
            blocks_total=self._pool.total,
            steps=self._steps,
        )

    def close(self, drain: bool = False) -> None:
        """End the engine's thread; see Engine."""
        self._drain, self._closed = drain, True
        self._inbox.put(None)
        self._thread.join()

    def _answer(self, request: Request, deliver: Callable[[Delta], None]) -> Answer:
        return Answer(request, deliver, self.speaker, self._context, self._vocabulary)

    def _check(self, request: Request) -> None:
        size, vocabulary, sampling = len(request.ids), self._vocabulary, request.sampling
        named = (*sampling.logit_bias, *sampling.stop_token_ids)
        what = fix = ""
        if self._closed:
            what = "the engine is closed"
        elif not size:
            what, fix = "the prompt is empty", "give at least one token"
        elif min(request.ids) < 0 or max(request.ids) >= vocabulary:
            what, fix = "the prompt has an unknown token", f"ids go from 0 to {vocabulary - 1}"
        elif min(named, default=0) < 0 or max(named, default=0) >= vocabulary:
            what = "logit_bias or stop_token_ids has an unknown token"
            fix = f"ids go from 0 to {vocabulary - 1}"
        elif size >= self._context:
            what = f"the prompt has {size} tokens, but {self._context} is the most with its answer"
            fix = "shorten it"
        if what:
            raise UserError(Problem(where="prompt", what=what, fix=fix))

    # --- the engine's own thread -------------------------------------------------------------

    def _work(self) -> None:
        with torch.inference_mode():
            while self._take_in():
                pieces = self._queue.plan()
                if not pieces:
                    continue
                try:
                    self._step(pieces)
                except Exception as error:
                    # Whatever broke, those who wait for an answer must hear of it.
                    _log.exception("a step failed")
                    self._queue.fail("error", f"{type(error).__name__}: {error}")
                self._steps += 1
        while not self._inbox.empty():
            late = self._inbox.get()
            if isinstance(late, list):
                self._queue.waiting.extend(late)
            elif late is not None:
                late.end()
        self._queue.fail("cancelled")

    def _take_in(self) -> bool:
        """Take new requests in; wait for one if there is nothing else to do. False at the end.

        Whoever comes after an exchange that was asked for waits until it is done.
        """
        busy = bool(self._queue.running or self._queue.waiting)
        while True:
            if self._closed and not (self._drain and (busy or self._inbox.qsize() > 1)):
                if self._exchange is not None:
                    self._exchange.end()
                return False
            if self._exchange is not None:
                if busy:
                    return True
                self._exchange.idle.set()
                self._exchange.done.wait()
                self._exchange = None
            try:
                new = self._inbox.get(block=not busy)
            except Empty:
                return True
            if isinstance(new, _Exchange):
                self._exchange = new
            elif new is not None:
                self._queue.waiting.extend(new)
                busy = True

    def _step(self, pieces: Sequence[tuple[Answer, Piece]]) -> None:
        step = Step(self._pool, [p for _, p in pieces], self._device)
        ids: list[int] = []
        ends: list[int] = []
        asked: list[Answer] = []
        for (answer, _), piece in zip(pieces, step.pieces, strict=True):
            ids += answer.ids[piece.begin : piece.begin + piece.count]
            answer.done += piece.count
            if answer.done == len(answer.ids):
                asked.append(answer)
                ends.append(len(ids) - 1)
        logits = forward(self.model, ids, step, ends)
        if asked:
            self._continue(logits, asked)

    def _continue(self, logits: Tensor, asked: Sequence[Answer]) -> None:
        """Give each answer its next token, and let go of those that end."""
        wanting = [i for i, a in enumerate(asked) if a.request.sampling.logprobs is not None]
        plain = logits[wanting].clone() if wanting else None
        tokens = choose(logits, [a.chooser for a in asked])
        told = {}
        if plain is not None:
            most = [asked[i].request.sampling.logprobs or 0 for i in wanting]
            of_each = logprobs(plain, [tokens[i] for i in wanting], most)
            told = dict(zip(wanting, of_each, strict=True))
        for number, (answer, token) in enumerate(zip(asked, tokens, strict=True)):
            answer.take(token, told.get(number))
            if answer.ended:
                self._queue.leave(answer)

    def _blocks(self, options: Torch, opened: Opened) -> int:
        """Return how many blocks the cache has; raises where not even one fits."""
        each = _bytes_per_token(self.model, opened.dtype) * options.block_size
        full = options.max_batch * -(-self._context // options.block_size)
        if options.cache_gb != "auto":
            room = options.cache_gb * 1e9
        else:
            room = 2e9 if opened.cache is None else opened.cache
        blocks = min(full, int(room / each))
        if blocks < 1:
            what = f"a block of the key/value cache takes {each / 1e9:.3g} GB: none fits"
            raise MachineError(Problem(where="engine.cache_gb", what=what, fix="give it more"))
        return blocks


class _Exchange:
    """An exchange of weights: whoever asked for it does it, while the engine's thread waits."""

    def __init__(self) -> None:
        self.idle, self.done = threading.Event(), threading.Event()
        self.idle_forever = False

    def end(self) -> None:
        """Let go of who waits for it: the engine has ended."""
        self.idle_forever = True
        self.idle.set()


def _closed() -> UserError:
    return UserError(Problem(where="prompt", what="the engine is closed"))


def _context(served: Served, options: Torch) -> int:
    own = served.context or 2048
    return min(own, options.context) if options.context else own


def _bytes_per_token(model: Any, dtype: torch.dtype) -> int:
    """Return what one token's keys and values take in all layers, which may differ in width."""
    text = model.config.get_text_config()
    count = int(text.num_hidden_layers)
    layers = text.per_layer_config if getattr(text, "is_heterogeneous", False) else [text] * count
    return 2 * dtype.itemsize * sum(map(_width, layers))


def _width(layer: Any) -> int:
    """Return how many numbers a layer's key of one token has."""
    heads = getattr(layer, "num_key_value_heads", None) or layer.num_attention_heads
    own = getattr(layer, "head_dim", None) or layer.hidden_size // layer.num_attention_heads
    return int(heads * own)
