"""Replies to answers, by a function of the user's own: results of tools, or a further question."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from swift.chat.message import Message
from swift.chat.tools import read_calls
from swift.core.errors import MachineError, Problem, SwiftError, UserError
from swift.core.plugins import attribute

if TYPE_CHECKING:
    from swift.chat.speaker import Speaker
    from swift.engine import Engine
    from swift.run.rollout.speaking import Speaking

_LIMIT = 600.0
"""Seconds for all replies of a turn."""

_AT_ONCE = 16


class Replies:
    """What goes on after an answer: nothing, or what a function says.

    The function gets (messages, columns): the conversation as maps of {role, content, tool_calls},
    its last message the answer, and the row's columns with its `solution`. It returns the next
    messages, a text (which the user then says), or None, which ends the conversation. It may be
    async; replies of one turn are asked for at once, in threads.
    """

    def __init__(self, path: str, most: int, speaker: Speaker | None) -> None:
        self._path, self.most, self._speaker = path, most, speaker

    @classmethod
    def of(cls, path: str | None, most: int, engine: Engine | None) -> Replies:
        """Return what replies by the function that `path` names; by none, nothing does."""
        return cls(path or "", most if path else 1, engine.speaker if engine else None)

    def to(self, going: Sequence[Speaking], room: int) -> list[Speaking]:
        """Reply to those that ended their answer, and return those that are to speak again.

        Args:
            going: Conversations that have just been answered.
            room: Most tokens of one after its prompt: a reply that leaves none is not given.

        Raises:
            UserError: The function raised, or returned what is no reply; names the row.
            MachineError: It did not return in time.
        """
        ended = [one for one in going if one.last.finish == "stop"]
        answers = [self._answer(one) for one in ended]
        again = []
        for one, answer, reply in zip(ended, answers, self._asked(ended, answers), strict=True):
            if not reply:
                continue
            spoken = [*one.sample.chosen, *one.said, answer]
            ids = self._between(spoken, reply, one.sample.tools, one.ids[-1])
            if len(one.ids) + len(ids) < room:
                one.reply([answer, *reply], ids)
                again.append(one)
        return again

    def _answer(self, one: Speaking) -> Message:
        """Return the answer as a message; calls of tools are read out of it."""
        style = self._speaker.calls if self._speaker else None
        if style is None or not one.sample.tools:
            return Message(role="assistant", content=one.last.text)
        text, calls = read_calls(one.last.text, style, one.sample.tools)
        named = [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(calls)
        ]
        return Message(role="assistant", content=text, more={"tool_calls": named} if named else {})

    def _between(
        self, spoken: Sequence[Message], reply: Sequence[Message], tools: Sequence[Any], last: int
    ) -> list[int]:
        """Return the tokens between an answer's end and where the assistant speaks again.

        What the template writes after `last`, the token that ended the answer: so the answer's own
        tokens stay as they are.
        """
        assert self._speaker is not None
        assert self._speaker.template is not None
        template, tokenizer = self._speaker.template, self._speaker.tokenizer
        whole = template.render([*spoken, *reply], tools, generation_prompt=True)
        found = template.spans([*spoken, *reply], tools)
        spans = zip(found.turns, found.spans, strict=True)
        begin, end = [span for turn, span in spans if turn == len(spoken) - 1][-1]
        mark = tokenizer.backend.id_to_token(last) or ""
        at = whole.rfind(mark, begin, end) if last in self._speaker.stop_ids else -1
        return tokenizer.encode(whole[end if at < 0 else at + len(mark) :])

    def _asked(self, ended: Sequence[Speaking], answers: Sequence[Message]) -> list[list[Message]]:
        function: Any = attribute(self._path)
        jobs: SimpleQueue[int] = SimpleQueue()
        found: dict[int, list[Message] | SwiftError] = {}
        all_there = threading.Event()
        for number in range(len(ended)):
            jobs.put(number)

        def work() -> None:
            while True:
                try:
                    number = jobs.get_nowait()
                except Empty:
                    return
                one = ended[number]
                turns = [*one.sample.chosen, *one.said, answers[number]]
                columns = {**one.sample.columns, "solution": one.sample.solution}
                found[number] = self._one(function, turns, columns, one.sample.origin)
                if len(found) == len(ended):
                    all_there.set()

        for _ in range(min(_AT_ONCE, len(ended))):
            threading.Thread(target=work, name="replies", daemon=True).start()
        end = monotonic() + _LIMIT
        while ended and not all_there.wait(0.2):  # short waits, so that Ctrl+C is heard
            if monotonic() > end:
                late = [one.sample.origin for n, one in enumerate(ended) if n not in found]
                what = f"`{self._path}` gave no reply in {_LIMIT:g} s: {', '.join(late[:3])}"
                fix = "let it give up by itself, and return None"
                raise MachineError(Problem(where="method.turns", what=what, fix=fix))
        replies = []
        for number in range(len(ended)):
            reply = found[number]
            if isinstance(reply, SwiftError):
                raise reply
            replies.append(reply)
        return replies

    def _one(
        self,
        function: Callable[..., Any],
        turns: Sequence[Message],
        columns: Mapping[str, Any],
        origin: str,
    ) -> list[Message] | SwiftError:
        try:
            said = function([turn.as_dict() for turn in turns], columns)
            if inspect.isawaitable(said):
                said = asyncio.run(_awaited(said))
            return _messages(said)
        except BaseException as error:  # SystemExit, too: a thread that ends so would be waited for
            why = " ".join(f"{type(error).__name__}: {error}".split())
            what = f"`{self._path}` at {origin}: {why}"
            fix = "return messages, a text, or None"
            return UserError(Problem(where="method.turns", what=what, fix=fix))


async def _awaited(said: Any) -> Any:
    return await said


def _messages(said: Any) -> list[Message]:
    """Return a function's reply as messages; none where the conversation ends.

    Raises:
        TypeError: It is no reply.
    """
    if said is None:
        return []
    if isinstance(said, str):
        said = {"role": "user", "content": said} if said else ()
    if isinstance(said, Mapping):
        said = [said]
    if not isinstance(said, Sequence) or not all(isinstance(m, Mapping) for m in said):
        raise TypeError(f"it returned {type(said).__name__}, no messages")
    found = []
    for turn in said:
        role, content = turn.get("role"), turn.get("content", "")
        if role not in ("user", "tool", "system") or not isinstance(content, str):
            raise TypeError("a reply is {role: user or tool, content: text}")
        try:
            json.dumps(turn, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise TypeError(f"a reply is kept as JSON, and this one cannot be: {error}") from error
        more = {key: value for key, value in turn.items() if key not in ("role", "content")}
        found.append(Message(role=role, content=content, more=more))
    return found
