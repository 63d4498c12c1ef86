"""A conversation with an engine: its turns, what fits of them, and an answer as it comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from swift.chat.message import Message
from swift.core.errors import DataError, Problem, UserError
from swift.core.files import write_text
from swift.engine import Delta, Engine, Request, Sampling

_PATIENCE = 10.0
"""Seconds that a stopped answer has to end."""


class Talk:
    """A conversation. A model without chat template goes on with each text by itself."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        *,
        system: str = "",
        context: int = 0,
        options: Mapping[str, Any] | None = None,
        note: Callable[[str], None],
    ) -> None:
        """Begin a conversation.

        Args:
            engine: Who answers.
            sampling: How.
            system: What the model is told first; "" for nothing.
            context: Longest prompt with its answer, in tokens; 0: as the engine says.
            options: What the chat template may read besides, such as enable_thinking.
            note: Is told what the user should know: "the context is full: ...".
        """
        self._engine, self._sampling, self._note = engine, sampling, note
        self._options = options or {}
        self.system = system
        self._context = context or engine.served.context
        self.turns: list[Message] = []
        """Turns of user and assistant, without the system text."""

        self.plain = engine.speaker.template is None
        """Whether the model only goes on with texts."""

    def ask(self, text: str, tell: Callable[[str], None]) -> Delta:
        """Return the end of the answer to `text`, told piece by piece.

        A Ctrl+C stops the answer: it comes back with finish "cancelled", and what was told of it
        stays in the conversation.

        Raises:
            UserError: The text by itself is too long or not UTF-8, or the template refuses it.
        """
        self.turns.append(Message(role="user", content=text))
        told: list[str] = []

        def hear(new: str) -> None:
            told.append(new)
            tell(new)

        try:
            end = self._answer(text, hear)
        except BaseException:
            self.turns.pop()
            raise
        if self.plain:
            self.turns.clear()
        elif (said := "".join(told)) or end.finish in ("stop", "length"):
            self.turns.append(Message(role="assistant", content=said))
        else:
            self.turns.pop()
        return end

    def undo(self) -> bool:
        """Forget the last question and its answer; False where there is none."""
        asked = [n for n, turn in enumerate(self.turns) if turn.role == "user"]
        if not asked:
            return False
        del self.turns[asked[-1] :]
        return True

    def save(self, path: Path) -> None:
        """Write the conversation as JSON: a row of a data set, which `swift sft` can learn.

        Raises:
            MachineError: It cannot be written.
        """
        turns = [{"role": m.role, "content": m.content} for m in self._messages()]
        write_text(path, json.dumps({"messages": turns}, ensure_ascii=False) + "\n")

    def _messages(self) -> list[Message]:
        told = [Message(role="system", content=self.system)] if self.system else []
        return [*told, *self.turns]

    def _answer(self, text: str, hear: Callable[[str], None]) -> Delta:
        came: SimpleQueue[Delta] = SimpleQueue()
        cancel = self._submit(text, came)
        aloud = self._engine.speaker.aloud()
        delta = Delta()
        try:
            while delta.finish is None:
                delta = came.get()
                hear(aloud(delta.text, delta.finish is not None))
        except BaseException as error:  # Ctrl+C, or whoever listens has gone
            cancel()
            if not isinstance(error, KeyboardInterrupt):
                raise
            with suppress(Empty):  # an interrupt may have swallowed the last one
                while delta.finish is None:
                    delta = came.get(timeout=_PATIENCE)
            return Delta(finish="cancelled")
        return delta

    def _submit(self, text: str, came: SimpleQueue[Delta]) -> Callable[[], None]:
        """Submit the conversation; the oldest turns go where it is too long."""
        dropped = 0
        while True:
            ids = self._ids(text)
            last = len(self.turns) == 1
            if last or not self._context or len(ids) <= self._context - self._room():
                try:
                    request = Request(ids=ids, sampling=self._sampling, stream=True)
                    cancel = self._engine.submit(request, came.put)
                except UserError:
                    if last:
                        raise
                else:
                    break
            dropped += self._drop()
        if dropped:
            self._note(f"the context is full: the {dropped} oldest turns are forgotten")
        return cancel

    def _ids(self, text: str) -> list[int]:
        speaker, turns = self._engine.speaker, self._messages()
        try:
            "".join(turn.content for turn in turns).encode()
        except UnicodeEncodeError as error:  # Python lets bytes through that are no letters
            fix = "iconv -t UTF-8 from whatever it is in"
            raise DataError(Problem(what="the text is not UTF-8", fix=fix)) from error
        return speaker.text(text) if self.plain else speaker.chat(turns, **self._options)

    def _room(self) -> int:
        """Return the tokens that are kept free for the answer: what is asked, or a quarter."""
        most = self._sampling.max_tokens
        quarter = self._context // 4
        return min(most, 2 * quarter) if most else quarter

    def _drop(self) -> int:
        """Drop the oldest question with what was answered; return the number of turns."""
        next_asked = next(n for n, t in enumerate(self.turns) if n and t.role == "user")
        del self.turns[:next_asked]
        return next_asked
