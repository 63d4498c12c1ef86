"""Texts alone: documents, and texts with a class."""

from __future__ import annotations

from swift.chat.message import Message, Sample
from swift.dataset.formats import Format
from swift.dataset.rejects import Reject, Row, first
from swift.dataset.turns import Said, led, text_of

_TEXTS = ("text", "sentence", "content", "review")


def labelled(row: Row) -> Sample:
    """A text and the class it is of."""
    text = _text(row)
    return Sample(chosen=led(row, Said((Message(role="user", content=text),))).turns)


def document(row: Row) -> Sample:
    """A document."""
    return Sample(text=_text(row))


def _text(row: Row) -> str:
    text = text_of(first(row, _TEXTS))
    if not text.strip():
        raise Reject("empty")
    return text


FORMATS = (
    Format.of("labelled", "text|sentence|content|review label|labels", "classes", read=labelled),
    Format.of("text", "text|content", read=document),
)
