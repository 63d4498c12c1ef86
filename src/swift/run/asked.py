"""What a row asks, and what it says the answer is: rows of any format, answered or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swift.chat.message import Message
from swift.core.errors import DataError
from swift.dataset.formats import to_samples
from swift.dataset.rejects import Reject, first
from swift.dataset.sources import Raw
from swift.dataset.turns import ANSWERS, QUESTIONS, messages, text_of, tools

if TYPE_CHECKING:
    from swift.chat.speaker import Speaker

_TALKS = ("messages", "conversations", "conversation")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A row's question: a conversation, or plain text to go on with."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    prompt: str = ""
    """Plain text, instead of a conversation."""

    labels: str | None = None
    """The answer that the row holds; the model does not see it."""

    origin: str = ""
    """Where it came from: "mine.jsonl:17"."""

    trouble: str = ""
    """Why nothing is asked: "broken-line", "unknown-format", ..."""

    def ids(self, speaker: Speaker, **options: Any) -> list[int]:
        """Return the prompt's tokens; the chat template may read `options`.

        Raises:
            DataError: The model has no chat template, or it refuses the conversation.
        """
        if self.messages:
            return speaker.chat(self.messages, self.tools, **options)
        return speaker.text(self.prompt)

    def shown(self) -> dict[str, Any]:
        """Return what the model was shown, as JSON has it: {"messages": ...} or {"prompt": ...}."""
        if not self.messages:
            return {"prompt": self.prompt}
        turns = [{"role": m.role, "content": m.content, **m.more} for m in self.messages]
        return {"messages": turns, **({"tools": list(self.tools)} if self.tools else {})}


def read(raw: Raw) -> Asked:
    """Return what a row asks; a row that asks nothing comes back with `trouble`.

    A conversation's last turn is its answer if it is the assistant's. A row of `prompt` alone is
    plain text to go on with; any other question is asked as a user's turn.
    """
    if raw.row is None:
        return Asked(trouble=raw.trouble, origin=raw.origin)
    try:
        return _read(raw.row, raw.origin)
    except Reject as reject:
        return Asked(trouble=str(reject), origin=raw.origin)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Asked(trouble="wrong-shape", origin=raw.origin)


def _read(row: Mapping[str, Any], origin: str) -> Asked:
    if "chosen" not in row and any(name in row for name in _TALKS):
        return _talk(_turns(row), row, origin)
    answered = any(row.get(name) for name in ANSWERS) or "chosen" in row
    if "prompt" in row and "chosen" not in row and not any(name in row for name in ANSWERS):
        said = row["prompt"]
        if isinstance(said, list):
            return _talk(messages(said), row, origin)
        return _plain(text_of(said), origin)
    if not answered and any(name in row for name in QUESTIONS):
        # Formats are of answered rows: with some answer it is read as they are, then without.
        bare = {name: value for name, value in row.items() if name not in ANSWERS}
        some = [{"role": "assistant", "content": "-"}]
        listed = isinstance(first(row, QUESTIONS), list)
        return _talk(_known({**bare, "output": some if listed else "-"}, origin)[:-1], row, origin)
    return _of_format(row, origin)


def _turns(row: Mapping[str, Any]) -> tuple[Message, ...]:
    turns = messages(first(row, _TALKS))
    if row.get("system") and turns[0].role != "system":
        return (Message(role="system", content=text_of(row["system"])), *turns)
    return turns


def _of_format(row: Mapping[str, Any], origin: str) -> Asked:
    turns = _known(row, origin)
    return _talk(turns, row, origin) if turns else _plain(text_of(first(row, _TEXTS)), origin)


_TEXTS = ("text", "content")


def _known(row: Mapping[str, Any], origin: str) -> tuple[Message, ...]:
    """Return the conversation of a row in a known format; nothing for a document."""
    troubles: list[str] = []

    def on_reject(trouble: str, origin: str) -> None:
        troubles.append(trouble)

    try:
        raw = Raw(row=dict(row), origin=origin)
        for sample in to_samples([raw], on_reject=on_reject):
            if sample.media:
                raise Reject("media-not-read")  # they come later
            return sample.chosen
    except DataError as error:  # what is a whole source's mistake in training is one row's here
        raise Reject("unknown-format") from error
    raise Reject(troubles[0])


def _talk(turns: tuple[Message, ...], row: Mapping[str, Any], origin: str) -> Asked:
    labels = None
    if turns[-1].role == "assistant":
        labels = turns[-1].content or None  # a call of a tool is no text to compare
        turns = turns[:-1]
    if not turns or turns[-1].role == "assistant":
        raise Reject("no-question")
    return Asked(messages=turns, tools=tools(row), labels=labels, origin=origin)


def _plain(text: str, origin: str) -> Asked:
    if not text:
        raise Reject("empty-question")
    return Asked(prompt=text, origin=origin)
