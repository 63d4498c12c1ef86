"""Speaker: conversations and plain text to the ids that the model was trained on, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from swift.chat.ending import can_end
from swift.chat.message import Message
from swift.chat.source import choose
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.chat.tools import Style, reader_of, style_of
from swift.core.errors import DataError

_THINKING, _THOUGHT = "<think>", "</think>"


@dataclass(frozen=True)
class Speaker:
    """A model's tokenizer and chat template, as one voice."""

    tokenizer: Tokenizer
    template: Template | None
    """None where the model has none: then it only completes text."""

    refusal: DataError | None = None
    """Why there is no template."""

    @classmethod
    def load(cls, folder: Path, named: str = "auto") -> Speaker:
        """Return the speaker of a model's or a checkpoint's folder.

        Args:
            folder: Where its tokenizer is.
            named: Its template, as `choose` takes it.

        Raises:
            DataError: The tokenizer is missing or broken, there is no template of that name, or its
                end of an answer is a token that the model has not.
        """
        tokenizer = Tokenizer.load(folder)
        can_end(named, folder)
        try:
            return cls(tokenizer, choose(folder, named))
        except DataError as error:
            if named != "auto":
                raise
            return cls(tokenizer, None, error)

    def chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        begun: str = "",
        **options: Any,
    ) -> list[int]:
        """Return the ids of a conversation up to where the assistant begins to speak.

        Args:
            messages: The conversation; its last message is not the assistant's.
            tools: Tools in OpenAI's shape, for templates that name them.
            begun: What the assistant is made to begin with, after thinking that the template opens.
            options: What the template may read besides, such as enable_thinking.

        Raises:
            DataError: The model has no template, or its template refuses the conversation.
        """
        if self.template is None:
            assert self.refusal is not None
            raise self.refusal
        text = self.template.render(messages, tools, generation_prompt=True, **options)
        if begun and text.rstrip().endswith(_THINKING):
            text = text.rstrip() + f"\n{_THOUGHT}\n\n"
        return self.tokenizer.encode(text + begun)

    def text(self, prompt: str) -> list[int]:
        """Return the ids of plain text, begun as in training."""
        return self.tokenizer.encode(prompt)

    def say(self, ids: Sequence[int]) -> str:
        """Return the text of an answer, without special tokens but those that spell calls."""
        if self._hidden is not None:
            ids = [id for id in ids if id not in self._hidden]
        backend = self.tokenizer.backend
        text: str = backend.decode(list(ids), skip_special_tokens=self._hidden is None)
        return text

    def aloud(self) -> Callable[[str, bool], str]:
        """Return what takes an answer's pieces, and says of each what is meant for people.

        Its second argument tells the last piece. Of a model that speaks in messages only those
        said aloud are; of any other it is all.
        """
        if self.calls is None or not self.calls.channels:
            return lambda text, last: text
        reader = reader_of(self.calls)

        def read(text: str, last: bool) -> str:
            pieces = [*reader.push(text), *(reader.end() if last else ())]
            return "".join(piece for piece in pieces if isinstance(piece, str))

        return read

    @cached_property
    def calls(self) -> Style | None:
        """How the model spells calls of tools; None where its template does not tell."""
        return style_of(self.template.source) if self.template else None

    @cached_property
    def _hidden(self) -> frozenset[int] | None:
        """Special tokens that are no text; None: all of them."""
        added = self.tokenizer.backend.get_added_tokens_decoder()
        special = {id: token.content for id, token in added.items() if token.special}
        shown = self.calls.marks(special.values()) if self.calls else []
        return frozenset(id for id, text in special.items() if text not in shown) if shown else None

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the model's own, and what the template ends a turn with."""
        from swift.chat.verify import end_token

        ends = end_token(self.template, self.tokenizer) if self.template else None
        named = [ids[0] for _, ids in self._said_stops if len(ids) == 1]
        of_calls = map(
            self.tokenizer.backend.token_to_id, self.calls.ends.split() if self.calls else ()
        )
        found = {*self.tokenizer.stop_ids, *named, *of_calls, ends}
        return frozenset(id for id in found if id is not None)

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer, besides `stop_ids`: those that are no token by themselves."""
        return tuple(text for text, ids in self._said_stops if len(ids) > 1)

    @cached_property
    def _said_stops(self) -> list[tuple[str, list[int]]]:
        """The further ends that the template names, with their tokens."""
        named = self.template.stops if self.template else ()
        return [(text, self.tokenizer.encode(text)) for text in named]
