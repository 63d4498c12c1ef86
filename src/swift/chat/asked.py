"""Which answers of a conversation stand where inference would ask for them.

Many templates write the past otherwise than they asked for it: thoughts of earlier turns are
dropped, an earlier header lacks the `<think>` that the prompt ends with. An answer that stands
after another text than its prompt would teach what is never asked, so it is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from swift.chat.message import REASONING, Message
from swift.chat.template import Spanned, Template
from swift.chat.thinking import Styled, without_thinking
from swift.core.errors import DataError

WAYS: tuple[Mapping[str, Any], ...] = ({}, {"enable_thinking": False}, {"enable_thinking": True})
"""How inference may ask: as the template does by default, without thinking, and with it."""

Shape = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Asked(Template):
    """A template that says of a conversation only the answers that inference asks for.

    It looks once at each shape of conversation.
    """

    inner: Template = field(kw_only=True)
    """The template itself."""

    left_out: list[int] = field(default_factory=list, kw_only=True)
    """How many answers each conversation lost that lost some."""

    @classmethod
    def of(cls, template: Template) -> Asked:
        """Return `template`, so limited."""
        return cls(template.source, template.tokens, template.end, inner=template)

    @cached_property
    def fingerprint(self) -> str:
        """Return the template's own."""
        return self.inner.fingerprint

    def spans(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Spanned:
        """Return the text, and where the assistant says in it what it would be asked for.

        Raises:
            DataError: The template refuses, or a turn cannot be found.
        """
        spanned = self.inner.spans(messages, tools, **more)
        shape = _shape(messages, tools)
        if shape not in self._kept:
            self._kept[shape] = self._asked(messages, tools, spanned)
        kept = self._kept[shape]
        if kept.issuperset(spanned.turns):
            return spanned
        self.left_out.append(len(set(spanned.turns) - kept))
        pairs = zip(spanned.spans, spanned.turns, strict=True)
        spans = [(span, turn) for span, turn in pairs if turn in kept]
        return Spanned(spanned.text, tuple(s for s, _ in spans), tuple(t for _, t in spans))

    def describe(self) -> str:
        """Return a line on what was left out; "" for nothing."""
        if not self.left_out:
            return ""
        return (
            f"{sum(self.left_out):,} answers in {len(self.left_out):,} conversations are not "
            "trained: the template writes what is before them otherwise than inference asks"
        )

    @cached_property
    def _kept(self) -> dict[Shape, frozenset[int]]:
        return {}

    def _asked(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], spanned: Spanned
    ) -> frozenset[int]:
        if isinstance(self.inner, Styled):
            messages = [without_thinking(message) for message in messages]
        turns = set(spanned.turns)
        return frozenset(n for n in turns if n < 0 or self._stands(messages[:n], tools, spanned))

    def _stands(
        self, before: Sequence[Message], tools: Sequence[Mapping[str, Any]], spanned: Spanned
    ) -> bool:
        """Tell whether the text begins with a prompt; what cannot be asked at all stays, too."""
        prompts = []
        for way in WAYS:
            with suppress(DataError):
                prompts.append(self.inner.render(before, tools, generation_prompt=True, **way))
        return not prompts or any(spanned.text.startswith(prompt) for prompt in prompts)


def _shape(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Shape:
    """Return what the way a template writes a conversation may depend on, but for its words."""
    return (("tools",) if tools else (), *map(_signs, messages))


def _signs(message: Message) -> tuple[str, ...]:
    content = message.content
    thinks = "<think>" in content or "</think>" in content
    said = (message.role, "<think>" if thinks else "", "said" if content else "")
    if not message.more:
        return said
    return (*said, *(name for name in ("tool_calls", *REASONING) if message.more.get(name)))
