"""The model's own chat template: text for the model, and what the assistant says in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from swift.chat.message import Message
from swift.chat.wires import stops_in
from swift.core.errors import DataError, Problem

if TYPE_CHECKING:
    from swift.chat._followed import Follower
    from swift.chat._traced import Trace

_THINKING = "<think"
"""A thinking tag is the assistant's word even where the generation prompt says it beforehand."""


class Spanned(NamedTuple):
    """A rendered conversation."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """Begin and end of each stretch of characters that the assistant says, end of turn included."""

    turns: tuple[int, ...] = ()
    """The message of each span: one may have several, with results of its tools between them."""


@dataclass(frozen=True)
class Template:
    """A Jinja chat template in an immutable sandbox, with the model's special tokens."""

    source: str
    tokens: Mapping[str, str]
    """bos_token, eos_token, ...: what the template may name."""

    end: str = ""
    """What ends an answer where the template leaves it to the next turn: the next header's first
    token (GLM's `<|user|>`). It is trained with the answer, and closes the last one."""

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """Other texts that end an answer at inference, as a wire says in its first line."""
        return stops_in(self.source)

    @cached_property
    def fingerprint(self) -> str:
        """Return a digest of the template and its tokens."""
        parts = [self.source, dict(self.tokens), *([self.end] if self.end else [])]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        generation_prompt: bool = False,
        **more: Any,
    ) -> str:
        """Return the conversation as the model's text.

        Raises:
            DataError: The template refuses the conversation.
        """
        said = [m.as_dict() for m in messages]
        return self.run(self._plain, said, tools, generation_prompt, **more)

    def spans(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Spanned:
        """Return the text, and where the assistant speaks in it.

        A template with `{% generation %}` marks says so itself. Of any other it is what the
        template writes while its loop is at an assistant's message, up to the end of the turn,
        without the header that the generation prompt gives the model at inference.

        Raises:
            DataError: The template refuses, or a turn cannot be found.
        """
        return self._follower.spans(
            messages, tools, more, lambda: self.rendered(messages, tools, **more)
        )

    def rendered(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Spanned:
        """Return what `spans` returns; the template is run for it, whatever is known of it."""
        trace = self._trace(messages, tools, more)
        if self.says:
            spans = [(trace.turn_of(begin), begin, end) for begin, end in trace.said]
        else:
            spans = [
                (number, *trace.without_header(begin, end, self.header))
                for number, begin, end in trace.turns
                if messages[number].role == "assistant"
            ]
            if spans and spans[-1][0] == len(messages) - 1:
                spans[-1] = (*spans[-1][:2], len(trace.text))  # an end of text after the loop
        spans = [s for s in spans if s[1] < s[2]]
        self._all_found(messages, {number for number, _, _ in spans})
        text, size = trace.text, len(self.end)
        if self.end:
            last = spans[-1:] and spans[-1][2] == len(text)
            text += self.end if last else ""
            spans = [(n, b, e + size * text.startswith(self.end, e)) for n, b, e in spans]
        return Spanned(
            text, tuple((b, e) for _, b, e in spans), tuple(number for number, _, _ in spans)
        )

    # --- how ---------------------------------------------------------------------------------

    @cached_property
    def _plain(self) -> Any:
        from swift.chat._traced import compiled

        return compiled(self.source, marking=False)

    @property
    def says(self) -> bool:
        """Whether it has `{% generation %}` blocks."""
        found: bool = self._marked.environment.says
        return found

    @cached_property
    def _follower(self) -> Follower:
        from swift.chat._followed import Follower

        return Follower(self)

    @cached_property
    def _marked(self) -> Any:
        from swift.chat._traced import compiled

        return compiled(self.source, marking=True)

    @cached_property
    def header(self) -> str:
        """What the generation prompt adds, up to a thinking tag."""
        from swift.chat._traced import Numbered, read

        asked = Numbered(role="user", content="x")
        asked.number = 0
        trace = read(self.run(self._marked, [asked], (), True))
        return trace.text[trace.turns[-1][2] :].partition(_THINKING)[0] if trace.turns else ""

    def _trace(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        more: Mapping[str, Any],
    ) -> Trace:
        from swift.chat._traced import Numbered, holds_marks, read

        said = []
        for number, message in enumerate(messages):
            numbered = Numbered(message.as_dict())
            numbered.number = number
            said.append(numbered)
        if holds_marks(said) or holds_marks(tools):
            raise DataError(
                Problem(
                    what="a text has one of U+FDD0 … U+FDD4, which Unicode keeps for programs",
                    fix="take it out: it is no character",
                )
            )
        trace = read(self.run(self._marked, said, tools, False, **more))
        self._check(trace, messages, tools, more)
        return trace

    @cached_property
    def _checked(self) -> set[tuple[str, ...]]:
        return set()

    def run(
        self,
        template: Any,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        generation_prompt: bool,
        **more: Any,
    ) -> str:
        """Return what a program made of `source` writes.

        Raises:
            Endless: It takes more time or memory than any chat is worth.
            DataError: It refuses.
        """
        from swift.chat._bounds import Exceeded
        from swift.chat.endless import Endless

        template.environment.clock.start()
        try:
            text: str = template.render(
                messages=messages,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **self.tokens,
                **more,
            )
        except Exceeded as error:
            what = f"the chat template does too much: {error}"
            raise Endless(Problem(where="model.template", what=what)) from error
        except Exception as error:  # a template is a program: whatever it does wrong is data
            raise DataError(Problem(what=f"the chat template refuses it: {error}")) from error
        return text

    def _all_found(self, messages: Sequence[Message], found: set[int]) -> None:
        """See to it that no answer is lost in silence.

        A template with marks of its own may leave answers out, but not all of them.
        """
        answers = [
            number
            for number, message in enumerate(messages)
            if message.role == "assistant" and (message.content or message.more.get("tool_calls"))
        ]
        lost = [number for number in answers if number not in found]
        if not lost or (found and self.says):
            return
        raise DataError(
            Problem(
                what=f"the chat template leaves out message {lost[0] + 1}, an answer",
                fix="template: one that writes every answer, or one with {% generation %} marks",
            )
        )

    def _check(
        self,
        trace: Trace,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        more: Mapping[str, Any],
    ) -> None:
        """Compare with the plain rendering, once for each order of roles."""
        roles = (*(m.role for m in messages), str(bool(tools)), str(more))
        if roles in self._checked:
            return
        if trace.text != self.render(messages, tools, **more):
            raise DataError(Problem(what="the chat template cannot be followed turn by turn"))
        self._checked.add(roles)
