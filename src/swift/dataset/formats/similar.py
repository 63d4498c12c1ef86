"""Texts that mean the same and texts that do not, for embeddings and rerankers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from swift.chat.message import Message, Sample
from swift.dataset.formats import Format
from swift.dataset.formats.sides import inline_media
from swift.dataset.rejects import Reject, Row, first
from swift.dataset.turns import Said, conversation, led, text_of

_ANCHORS = ("anchor", "query", "question", "sentence1", "text1", "premise")
_SAME = ("positive", "pos", "positives", "positive_passages", "sentence2", "text2", "hypothesis")
_OTHER = ("negative", "neg", "negatives", "negative_passages", "hard_negatives")
_NUMBERED = re.compile(r"negative_?\d+")


def read(row: Row) -> Sample:
    """A text, those that mean the same or answer it, and those that do not."""
    anchor = led(row, _text(first(row, _ANCHORS)))
    same = list(_texts(first(row, _SAME)))
    names = [name for name in _OTHER if row.get(name)][:1]
    names += [name for name in row if _NUMBERED.fullmatch(name) and row.get(name)]
    other = [text for name in names for text in _texts(row[name])]
    return Sample(
        chosen=anchor.turns,
        media=anchor.media,
        positives=tuple(text.turns for text in same),
        negatives=tuple(text.turns for text in other),
        other_media=inline_media(*same, *other),
    )


def _texts(said: Any) -> Iterator[Said]:
    """Yield the texts of a column: one, a list of them, or of passages with a title."""
    if isinstance(said, list | tuple) and not (said and _is_turn(said[0])):
        for one in said:
            yield _text(one)
    else:
        yield _text(said)


def _text(said: Any) -> Said:
    if isinstance(said, list):
        return conversation(said)
    if isinstance(said, dict) and "text" in said:
        title = said.get("title")
        said = f"{text_of(title)}\n{text_of(said['text'])}" if title else said["text"]
    text = text_of(said)
    if not text.strip():
        raise Reject("empty")
    return Said((Message(role="user", content=text),))


def _is_turn(said: Any) -> bool:
    return isinstance(said, dict) and ("role" in said or "from" in said)


FORMATS = (
    Format.of("similar", "|".join(_ANCHORS) + " " + "|".join(_SAME), "embeddings", read=read),
)
