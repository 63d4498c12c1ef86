"""Samples that are too long as several that are not: text between words, talk between turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from swift.chat.message import Message, Sample

if TYPE_CHECKING:
    from swift.chat.tokenize import Tokenizer

_BACK = 8
"""A piece of text ends at a space in its last eighth, if there is one."""

Size = Callable[[Sample], int]
"""Returns the tokens of a sample."""


def pieces(sample: Sample, tokenizer: Tokenizer, size: Size, most: int) -> list[Sample]:
    """Return samples of at most `most` tokens that together say what `sample` says.

    A turn with its answers that is too long by itself stays whole, and so too long. Pieces of a
    conversation all begin with its system message.

    Args:
        sample: A text or a conversation.
        tokenizer: Of the model.
        size: Returns the tokens of a sample, with all that a template writes around it.
        most: Tokens, at least 2.
    """
    if sample.text:
        return [replace(sample, text=text) for text in _texts(sample.text, tokenizer, most - 1)]
    return [replace(sample, chosen=turns) for turns in _talks(sample, size, most)]


def _texts(text: str, tokenizer: Tokenizer, most: int) -> Iterator[str]:
    """Yield parts of a text; one token is left to its end."""
    ends = [end for _, end in tokenizer.backend.encode(text, add_special_tokens=False).offsets]
    begin = done = 0  # character and token
    while len(ends) - done > most:
        room = most
        while True:
            end = _word_end(text, begin, max(begin + 1, ends[done + room - 1]))
            # A piece by itself may have a token more than in its place.
            if len(tokenizer.encode(text[begin:end])) <= most or end == begin + 1:
                break
            room = max(1, room - 1 - room // 16)
        yield text[begin:end]
        while done < len(ends) and ends[done] <= end:
            done += 1
        begin = end
    if begin < len(text):
        yield text[begin:]


def _word_end(text: str, begin: int, end: int) -> int:
    """Return where the last word before `end` ends, if that is not far before it."""
    lowest = end - (end - begin) // _BACK
    found = max(text.rfind(space, lowest, end) for space in " \n")
    return found if found > begin else end


def _talks(sample: Sample, size: Size, most: int) -> Iterator[tuple[Message, ...]]:
    """Yield parts of a conversation, each with as many turns as it has room for."""
    head, units = _units(sample.chosen)
    part: tuple[Message, ...] = ()
    for unit in units:
        longer = part + unit
        if part and size(replace(sample, chosen=head + longer)) > most:
            yield head + part
            longer = unit
        part = longer
    yield head + part


def _units(turns: tuple[Message, ...]) -> tuple[tuple[Message, ...], list[tuple[Message, ...]]]:
    """Return (what comes before the first user, each user's turn with what answers it)."""
    begins = [
        i for i, turn in enumerate(turns)
        if turn.role == "user" and (not i or turns[i - 1].role != "user")
    ]  # fmt: skip
    if not begins:
        return (), [turns]
    ends = [*begins[1:], len(turns)]
    return turns[: begins[0]], [turns[b:e] for b, e in zip(begins, ends, strict=True)]
