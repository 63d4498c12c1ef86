"""Lists of turns: OpenAI's, ShareGPT's, Anthropic's; alone, or with other answers or texts."""

from __future__ import annotations

from swift.chat.message import Sample
from swift.dataset.formats import Format
from swift.dataset.formats.sides import inline_media, other_answer, texts
from swift.dataset.rejects import Row, first
from swift.dataset.turns import TALKS, conversation, led


def read(row: Row) -> Sample:
    """A list of turns, perhaps with another answer, or with texts that mean the same or not."""
    said = conversation(first(row, TALKS))
    if len(row) == 1:
        return Sample(chosen=said.turns, media=said.media)
    said = led(row, said)
    rejected = other_answer(row, said)
    positives = texts(row, "positive_messages")
    negatives = texts(row, "negative_messages")
    return Sample(
        chosen=said.turns,
        rejected=rejected.turns,
        media=said.media,
        rejected_media=rejected.media,
        positives=tuple(one.turns for one in positives),
        negatives=tuple(one.turns for one in negatives),
        other_media=inline_media(*positives, *negatives),
    )


FORMATS = (Format.of("messages", "messages|conversations|conversation", read=read),)
