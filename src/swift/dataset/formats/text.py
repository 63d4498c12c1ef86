"""Texts alone: documents, and texts with a class."""

from __future__ import annotations

from swift.chat.message import Message, Sample
from swift.dataset.formats import format
from swift.dataset.turns import Reject, Row, Said, first, led, text_of

_TEXTS = ("text", "sentence", "content", "review")


@format("labelled", "text|sentence|content|review label|labels", "classes")
def labelled(row: Row) -> Sample:
    """A text and the class it is of."""
    text = _text(row)
    return Sample(chosen=led(row, Said((Message(role="user", content=text),))).turns)


@format("text", "text|content")
def document(row: Row) -> Sample:
    """A document."""
    return Sample(text=_text(row))


def _text(row: Row) -> str:
    text = text_of(first(row, _TEXTS))
    if not text.strip():
        raise Reject("empty")
    return text
