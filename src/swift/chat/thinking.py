"""Thinking before answers: kept, dropped, or there and empty as the prompt gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from swift.chat.message import REASONING, Message
from swift.chat.template import Spanned, Template
from swift.core.errors import DataError, Problem

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)
_QUIET: dict[str, Any] = {"enable_thinking": False}


@dataclass(frozen=True)
class Styled(Template):
    """A template whose answers are trained without their reasoning."""

    style: Literal["drop", "empty"] = "drop"

    @cached_property
    def fingerprint(self) -> str:
        """Return a digest that tells the style, too."""
        return f"{super().fingerprint}-{self.style}"

    def spans(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Spanned:
        """Return the text without reasoning, and where the assistant speaks in it.

        Under `empty` the last answer stands after the empty thinking that the generation prompt
        ends with when thinking is switched off. That is not trained: the prompt gives it.

        Raises:
            DataError: The template refuses, or a turn cannot be found.
        """
        messages = [without_thinking(m) for m in messages]
        if self.style == "drop":
            return super().spans(messages, tools, **more)
        spanned = super().spans(messages, tools, **_QUIET, **more)
        if not spanned.spans or messages[-1].role != "assistant":
            return spanned
        return _after(spanned, self.empty)

    @cached_property
    def empty(self) -> str:
        """The empty thinking of a prompt with thinking switched off; "" where there is none."""
        asked = [Message(role="user", content="x")]
        quiet = self.render(asked, generation_prompt=True, **_QUIET)
        return quiet.rpartition(self.header)[2] if self.header else ""


def styled(template: Template, style: Literal["keep", "drop", "empty"]) -> Template:
    """Return a template that writes reasoning in a style.

    Raises:
        DataError: `empty` is wanted of a template that has no way to switch thinking off.
    """
    if style == "keep":
        return template
    made = Styled(template.source, template.tokens, template.end, style)
    if style == "empty" and not made.empty:
        what = "the chat template writes no empty thinking when asked with enable_thinking: false"
        raise DataError(Problem(where="data.thinking", what=what, fix="data.thinking: drop"))
    return made


def thinks(message: Message) -> bool:
    """Tell whether an answer has reasoning before it."""
    if message.role != "assistant" or not (message.more or "<think>" in message.content):
        return False
    return without_thinking(message) != message


def without_thinking(message: Message) -> Message:
    """Return an answer without its reasoning; any other message as it is."""
    if message.role != "assistant":
        return message
    more = {k: v for k, v in message.more.items() if k not in REASONING}
    return replace(message, content=_THOUGHT.sub("", message.content), more=more)


def _after(spanned: Spanned, empty: str) -> Spanned:
    """Put the empty thinking before the last answer, and out of what is trained."""
    text, (*others, (begin, end)) = spanned.text, spanned.spans
    if not text.startswith(empty, begin):
        text = text[:begin] + empty + text[begin:]
        end += len(empty)
    return Spanned(text, (*others, (begin + len(empty), end)), spanned.turns)
