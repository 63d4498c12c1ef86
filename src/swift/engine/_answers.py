"""Answers under way: who runs, who waits, who has which blocks, and what each is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from swift.engine import Delta, Request, TokenLogprob
from swift.engine._paged import Piece, Pool
from swift.engine._sample import Chooser
from swift.engine._text import Text

if TYPE_CHECKING:
    from swift.chat.speaker import Speaker


class Answer:
    """One request, its tokens so far, and the way its asker is told."""

    def __init__(
        self,
        request: Request,
        deliver: Callable[[Delta], None],
        speaker: Speaker,
        context: int,
        vocabulary: int,
    ) -> None:
        s = request.sampling
        self.request, self.deliver = request, deliver
        self.ids = list(request.ids)
        self.done = 0
        """Tokens whose keys and values are stored."""

        self.blocks: list[int] = []
        self.cancelled = False
        self.ended = False
        room = context - len(self.ids)
        self._most = room if s.max_tokens is None else min(room, s.max_tokens)
        own = frozenset() if s.ignore_eos else speaker.stop_ids
        # A tokenizer may know tokens that the model has no logit for.
        self._ends = frozenset(id for id in own | set(s.stop_token_ids) if id < vocabulary)
        # Random takes a number's size alone: -1 would draw as 1 does.
        seed = None if s.seed is None else s.seed % 2**64
        self.chooser = Chooser(s, Random(seed), request.ids)
        self._ban()
        self._speaker = speaker
        stops = s.stop if s.ignore_eos else (*s.stop, *speaker.stops)
        self._text = Text(speaker, stops) if request.stream or stops else None
        self.version = 0
        """Of the weights that answer: see `Delta.version`."""

        self._told: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    @property
    def made(self) -> int:
        """New tokens so far."""
        return len(self.ids) - len(self.request.ids)

    def cancel(self) -> None:
        """Let it end at the next step. May be called from any thread."""
        self.cancelled = True

    def take(self, token: int, logprob: TokenLogprob | None) -> None:
        """Add the next token and tell of it."""
        self.ids.append(token)
        seen = self.chooser.seen
        seen[token] = seen.get(token, 0) + 1
        self._ban()
        if logprob is not None:
            self._logprobs.append(logprob)
        ends = token in self._ends
        new = self._text.push(token) if self._text is not None and not ends else ""
        stopped = self._text is not None and self._text.stopped
        finish = "stop" if ends or stopped else "length" if self.made >= self._most else None
        if finish:
            self.finish(finish, new, ends)
        elif self.request.stream:
            self.deliver(Delta(text=new, ids=(token,), logprobs=self._new_logprobs()))
        elif new:
            self._told.append(new)

    def finish(self, reason: str, new: str = "", ends: bool = False, error: str = "") -> None:
        """Tell the rest. `ends`: the last token is an end, and no text."""
        self.ended = True
        made = tuple(self.ids[len(self.request.ids) :])
        if self._text is not None:
            text = "".join([*self._told, new, self._text.end()])
        else:
            text = self._speaker.say(made[: len(made) - ends])
        ids = made if not self.request.stream else made[-1:] if reason in ("stop", "length") else ()
        self.deliver(
            Delta(
                text=text,
                ids=ids,
                logprobs=self._new_logprobs(),
                finish=reason,
                error=error,
                version=self.version,
            )
        )

    def _new_logprobs(self) -> tuple[TokenLogprob, ...]:
        new = tuple(self._logprobs)
        self._logprobs.clear()
        return new

    def _ban(self) -> None:
        short = self.made < self.request.sampling.min_tokens
        self.chooser.banned = tuple(self._ends) if short else ()


class Queue:
    """Who is answered now and who waits, by the blocks there are.

    An answer takes a block when it needs one. When none is free, the answer that came last gives
    its blocks back and waits first in line; its tokens are read anew later (recomputation).
    """

    def __init__(self, pool: Pool, most: int, step_tokens: int) -> None:
        self._pool, self._most, self._step_tokens = pool, most, step_tokens
        self.version = 0
        """Of the weights: what answers are told as they begin."""

        self.running: list[Answer] = []
        self.waiting: deque[Answer] = deque()

    def plan(self) -> list[tuple[Answer, Piece]]:
        """Return the pieces of the next step: single tokens first, parts of prompts after them.

        Drops who has left. Every piece has its blocks.
        """
        self._drop()
        self._admit()
        singles: list[tuple[Answer, Piece]] = []
        longer: list[tuple[Answer, Piece]] = []
        budget = self._step_tokens
        for answer in list(self.running):
            if answer not in self.running:
                continue  # gave way to one before it
            count = len(answer.ids) - answer.done
            if count > 1:
                count = min(count, budget)
            if count == 0 or not self._provide(answer, answer.done + count):
                continue
            if len(answer.ids) - answer.done > 1:
                budget -= count
            piece = Piece(blocks=answer.blocks, begin=answer.done, count=count)
            (singles if count == 1 else longer).append((answer, piece))
        return [(a, p) for a, p in singles + longer if a.blocks]

    def leave(self, answer: Answer) -> None:
        """Give back what an answer had."""
        self._pool.give(answer.blocks)
        self.running.remove(answer)

    def fail(self, reason: str, error: str = "") -> None:
        """End everything under way."""
        for answer in self.running:
            self._pool.give(answer.blocks)
        for answer in [*self.running, *self.waiting]:
            answer.finish(reason, error=error)
        self.running.clear()
        self.waiting.clear()

    def _drop(self) -> None:
        for answer in [a for a in self.running if a.cancelled]:
            self.leave(answer)
            answer.finish("cancelled")
        if any(a.cancelled for a in self.waiting):
            gone = [a for a in self.waiting if a.cancelled]
            self.waiting = deque(a for a in self.waiting if not a.cancelled)
            for answer in gone:
                answer.finish("cancelled")

    def _admit(self) -> None:
        """Let in who waits, in order, while there is a slot and room for the whole prompt."""
        free = self._pool.free
        while self.waiting and len(self.running) < self._most:
            need = -(-(len(self.waiting[0].ids) + 1) // self._pool.block_size)
            if need > free and self.running:
                return
            free -= need
            self.running.append(self.waiting.popleft())
            self.running[-1].version = self.version

    def _provide(self, answer: Answer, tokens: int) -> bool:
        """Give `answer` blocks for `tokens`; whoever came last gives way. False: it was itself."""
        while len(answer.blocks) * self._pool.block_size < tokens:
            if self._pool.free:
                answer.blocks.append(self._pool.take())
                continue
            last = self.running[-1]
            self._pool.give(last.blocks)
            last.done = 0
            self.waiting.appendleft(self.running.pop())
            if last is answer:
                return False
        return True
