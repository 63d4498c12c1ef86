"""What formats share: other answers, and texts beside a conversation."""

from __future__ import annotations

from typing import Any

from swift.chat.message import Media, Message
from swift.dataset.rejects import Reject, Row
from swift.dataset.turns import Said, answer, conversation, led


def other_answer(row: Row, said: Said) -> Said:
    """Return the conversation with the other answer of the row; nothing where there is none."""
    if row.get("rejected_messages"):
        return led(row, conversation(row["rejected_messages"]))
    if not row.get("rejected_response"):
        return Said()
    other = answer(row["rejected_response"])
    return Said(_up_to_question(said.turns) + other.turns, said.media + other.media)


def _up_to_question(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the turns up to the last of the user's: what comes after is the answer."""
    asked = [i for i, turn in enumerate(turns) if turn.role == "user"]
    if not asked:
        raise Reject("no-question")
    return turns[: asked[-1] + 1]


def texts(row: Row, name: str) -> list[Said]:
    """Return the conversations of a column: a list of them, or one."""
    said: Any = row.get(name)
    if not said:
        return []
    if not isinstance(said, list | tuple):
        raise Reject("wrong-shape")
    one = not isinstance(said[0], list | tuple)
    return [conversation(said)] if one else [conversation(turns) for turns in said]


def inline_media(*texts: Said) -> tuple[tuple[Media, ...], ...]:
    """Return the media that came in each text; nothing where none did."""
    found = tuple(text.media for text in texts)
    return found if any(found) else ()
