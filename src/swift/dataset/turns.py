"""What a row says, as turns: texts, messages, history and tools, each checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from swift.chat.message import Message

Row = Mapping[str, Any]

QUESTIONS = ("query", "question", "prompt", "instruction")
"""What data sets call the question of a row."""

ANSWERS = ("response", "answer", "completion", "output")
"""What data sets call the answer of a row."""

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_ROLES |= {"function_call": "assistant", "observation": "tool", "function": "tool"}
_KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_SAID_ELSEWHERE = frozenset({"role", "from", "content", "value", "loss"})


class Reject(Exception):  # noqa: N818 - it is a verdict on a row, not a failure
    """A row that gives no Sample; its text is the name it is counted under."""


def first(row: Row, names: Iterable[str]) -> Any:
    """Return the value of the first of `names` that the row has."""
    for name in names:
        if name in row:
            return row[name]
    raise Reject("missing-key")


def text_of(said: Any) -> str:
    """Return a string; content in parts is joined if all parts are text."""
    if isinstance(said, list) and all(_is_text(part) for part in said):
        said = "".join(part["text"] for part in said)
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    if not said.isascii():
        _encodable(said)
    return said


def question(row: Row, asked: str | None = None) -> tuple[Message, ...]:
    """Return system, history and the question (`asked`, else the row's)."""
    if asked is None:
        asked = text_of(first(row, QUESTIONS))
    if not asked.strip():
        raise Reject("empty-question")
    turns: list[Message] = []
    if row.get("system"):
        turns.append(Message(role="system", content=text_of(row["system"])))
    for before, after in _listed(row.get("history") or ()):
        turns.append(Message(role="user", content=text_of(before)))
        turns.append(Message(role="assistant", content=text_of(after)))
    return (*turns, Message(role="user", content=asked))


def answer(said: Any) -> Message:
    """Return the assistant's turn that says `said`."""
    text = text_of(said)
    if not text.strip():
        raise Reject("empty-answer")
    return Message(role="assistant", content=text)


def messages(said: Any) -> tuple[Message, ...]:
    """Return the turns of a list, given as such or, as tables have it, as JSON text."""
    said = _listed(said)
    if not isinstance(said, list) or not said:
        raise Reject("wrong-shape")
    return tuple(_message(turn) for turn in said)


def answered(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the turns, if the assistant says something in them."""
    answers = [m for m in turns if m.role == "assistant"]
    if not answers:
        raise Reject("no-answer")
    if not any(m.content.strip() or m.more.get("tool_calls") for m in answers):
        raise Reject("empty-answer")
    return turns


def tools(row: Row) -> tuple[Mapping[str, Any], ...]:
    """Return the tools offered in a row."""
    offered = _listed(row.get("tools") or ())
    if not isinstance(offered, list | tuple):
        raise Reject("wrong-shape")
    if not all(isinstance(tool, Mapping) for tool in offered):
        raise Reject("wrong-shape")
    if offered:
        _encodable(json.dumps(offered, ensure_ascii=False, default=str))
    return tuple(offered)


def _message(turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise Reject("wrong-shape")
    role = turn.get("role", turn.get("from"))
    role = _ROLES.get(role, role)
    if role not in _KNOWN_ROLES:
        raise Reject("wrong-role")
    content = turn.get("content", turn.get("value"))
    more = {k: v for k, v in turn.items() if k not in _SAID_ELSEWHERE and v is not None}
    if more:
        _encodable(json.dumps(more, ensure_ascii=False, default=str))
    if content is None and more.get("tool_calls"):
        content = ""
    loss = turn.get("loss")
    if loss not in (None, True, False):  # 0 and 1 are as good
        raise Reject("wrong-shape")
    loss = None if loss is None else bool(loss)
    return Message(role=role, content=text_of(content), more=more, loss=loss)


def _listed(said: Any) -> Any:
    """Return what JSON text holds (tables have no lists), and anything else as it is."""
    return json.loads(said) if isinstance(said, str) else said


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and "text" in part and part.get("type", "text") == "text"


def _encodable(text: str) -> None:
    """Refuse half a character (a lone surrogate, which JSON can spell): no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Reject("half-character") from error
