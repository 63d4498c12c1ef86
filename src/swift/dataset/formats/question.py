"""A question and its answer, each in a column: Alpaca's instructions, query and response."""

from __future__ import annotations

from typing import Any

from swift.chat.message import Sample
from swift.dataset.formats import Format
from swift.dataset.formats.sides import other_answer
from swift.dataset.rejects import Row, first
from swift.dataset.turns import ANSWERS, Said, answer, question

_ANSWERED = "query|question|prompt|problem|instruction|input "
_ANSWERED += "response|answer|completion|output|targets|target|answer_key|answers|solution|text|"
_ANSWERED += "content|rejected_response"


def alpaca(row: Row) -> Sample:
    """An instruction, perhaps an input to it, and the output."""
    return query_response(row)


def query_response(row: Row) -> Sample:
    """A question and its answer, as texts or as lists of messages."""
    asked = question(row)
    told = answer(_written(first(row, ANSWERS)))
    others = row.get("rejected_response")
    several = isinstance(others, list) and len(others) > 1 and isinstance(others[0], str)
    rejected = Said() if several else other_answer(row, asked)
    return Sample(
        chosen=asked.turns + told.turns,
        rejected=rejected.turns,
        media=asked.media + told.media,
        rejected_media=rejected.media,
        negatives=tuple(answer(other).turns for other in others or ()) if several else (),
    )


def _written(said: Any) -> Any:
    """Return a number as text: what many a question comes to, in JSON and in tables."""
    return str(said) if isinstance(said, int | float) and not isinstance(said, bool) else said


def prompt(row: Row) -> Sample:
    """A question without an answer, for answers that are drawn, and for texts to classify."""
    asked = question(row)
    return Sample(chosen=asked.turns, media=asked.media)


FORMATS = (
    Format.of("alpaca", "instruction output|response|completion|answer", read=alpaca),
    Format.of("query-response", _ANSWERED, read=query_response),
    Format.of(
        "prompt",
        "query|question|prompt|problem|instruction|input",
        "prompts classes embeddings",
        read=prompt,
    ),
)
