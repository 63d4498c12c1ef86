"""What a row says, as turns: texts, messages, history and tools, each checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swift.chat.message import REASONING, Media, Message
from swift.dataset.blocks import Parts, call_of, parts_of
from swift.dataset.rejects import Reject, Row, encodable, encodable_tree, first, listed

TALKS = ("messages", "conversations", "conversation")
"""What data sets call a list of turns."""

QUESTIONS = ("query", "question", "prompt", "problem", "instruction", "input")
"""What data sets call the question of a row."""

ANSWERS = (
    *("response", "answer", "completion", "output", "targets", "target", "answer_key"),
    *("answers", "solution", "text", "content"),
)
"""What data sets call the answer of a row, beside a question."""

_USERS = ("human", "user", "query", "question")
_ASSISTANTS = ("assistant", "gpt", "bot", "response", "answer")

_ROLES = {role: role for role in ("system", "developer", "user", "assistant", "tool")}
_ROLES["human"] = "user"
_ROLES |= dict.fromkeys(("gpt", "bot", "model", "chatgpt"), "assistant")
_ROLES |= dict.fromkeys(("function_call", "tool_call"), "call")
_ROLES |= dict.fromkeys(("observation", "observations", "function", "ipython"), "tool")
_ROLES |= dict.fromkeys(("function_response", "tool_response"), "tool")

_LOSSES = ("loss", "loss_scale", "loss_weight", "weight", "train", "training")
"""What data sets call the mark of a turn that is trained, or is not."""

_SAID_ELSEWHERE = frozenset({"role", "from", "content", "value", *_LOSSES})


@dataclass(frozen=True)
class Said:
    """Turns, and the media that came in them."""

    turns: tuple[Message, ...] = ()
    media: tuple[Media, ...] = ()

    def __add__(self, other: Said) -> Said:
        return Said(self.turns + other.turns, self.media + other.media)


def text_of(said: Any) -> str:
    """Return a string; content in parts is joined if all parts are text."""
    if isinstance(said, list):
        parts = parts_of(said)
        if parts.media or parts.calls or parts.results or parts.thoughts:
            raise Reject("wrong-shape")
        said = "".join(parts.text)
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    if not said.isascii():
        encodable(said)
    return said


def question(row: Row, asked: str | None = None) -> Said:
    """Return system, history and the question: `asked`, or what the row asks.

    An instruction goes before the input to it.
    """
    if asked is None:
        said = first(row, QUESTIONS)
        if isinstance(said, list):
            return led(row, conversation(said))
        asked = text_of(said)
        if said is row.get("instruction") and row.get("input"):
            asked = f"{asked}\n{text_of(row['input'])}"
    if not asked.strip():
        raise Reject("empty-question")
    before = _history(row.get("history"))
    return led(row, before + Said((Message(role="user", content=asked),)))


def answer(said: Any) -> Said:
    """Return the assistant's turn that says `said`: a text, a turn, or a list of turns.

    A list of one text is that text; of several it is not clear which one is meant.
    """
    if isinstance(said, list) and said and all(isinstance(one, str) for one in said):
        if len(said) > 1:
            raise Reject("several-answers")
        said = said[0]
    if isinstance(said, Mapping):
        said = [said]
    if isinstance(said, list):
        return conversation(said)
    return Said((Message(role="assistant", content=text_of(said)),))


def led(row: Row, said: Said) -> Said:
    """Return the conversation led by the row's system message, if it has none of its own."""
    system = row.get("system") or row.get("system_prompt")
    if not system or (said.turns and said.turns[0].role in ("system", "developer")):
        return said
    return Said((Message(role="system", content=text_of(system)),)) + said


def conversation(said: Any) -> Said:
    """Return the turns of a list, given as such or, as tables have it, as text."""
    said = listed(said)
    if not isinstance(said, list | tuple) or not said:
        raise Reject("wrong-shape")
    turns: list[Message] = []
    media: list[Media] = []
    for turn in said:
        role = _role(turn)
        if role == "call":
            _add_calls(turns, turn)
        elif role is None:
            turns += _round(turn)
        else:
            turns += _turn(role, turn, media)
    return Said(tuple(turns), tuple(media))


def messages(said: Any) -> tuple[Message, ...]:
    """Return the turns of a list whose content is text alone."""
    found = conversation(said)
    if found.media:
        raise Reject("wrong-shape")
    return found.turns


def tools(row: Row) -> tuple[Mapping[str, Any], ...]:
    """Return the tools offered in a row, in OpenAI's shape."""
    offered = row.get("tools")
    if not offered:
        return ()
    offered = listed(offered)
    offered = [offered] if isinstance(offered, Mapping) else offered
    if not isinstance(offered, list | tuple):
        raise Reject("wrong-shape")
    found = tuple(_tool(listed(tool)) for tool in offered)
    if found:
        encodable_tree(found)
    return found


def _tool(tool: Any) -> Mapping[str, Any]:
    if not isinstance(tool, Mapping):
        raise Reject("wrong-shape")
    if "name" in tool and "function" not in tool and tool.get("type", "function") == "function":
        bare = {key: value for key, value in tool.items() if key != "type"}
        return {"type": "function", "function": bare}
    return tool


def _history(said: Any) -> Said:
    """Return earlier rounds: pairs of texts, maps of the two, or a list of turns."""
    rounds = listed(said) if said else ()
    if not isinstance(rounds, list | tuple):
        raise Reject("wrong-shape")
    if not rounds:
        return Said()
    if not all(isinstance(pair, list | tuple) for pair in rounds):
        return conversation(rounds)
    turns: list[Message] = []
    for asked, told in rounds:
        turns.append(Message(role="user", content=text_of(asked)))
        turns.append(Message(role="assistant", content=text_of(told)))
    return Said(tuple(turns))


def _role(turn: Any) -> str | None:
    """Return whose turn it is: a role, "call" for calls of tools; None for a whole round."""
    if not isinstance(turn, Mapping):
        raise Reject("wrong-shape")
    said = turn.get("role", turn.get("from"))
    if said is None:
        return None
    role = _ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        raise Reject("wrong-role")
    return role


def _turn(role: str, turn: Row, media: list[Media]) -> Sequence[Message]:
    """Return the messages of a turn: one as a rule, several where tools answered in it too."""
    content = turn.get("content", turn.get("value"))
    if len(turn) == 2 and isinstance(content, str):
        return (Message(role=role, content=text_of(content)),)  # nearly all of them
    loss = _loss(turn)
    more = {k: v for k, v in turn.items() if k not in _SAID_ELSEWHERE and v is not None}
    if more:
        encodable_tree(more)
    if isinstance(content, list):
        return _of_parts(role, parts_of(content), more, loss, media)
    if isinstance(content, Mapping) and role == "tool":
        content = json.dumps(content, ensure_ascii=False)
    if content is None and more.get("tool_calls"):
        content = ""
    return (Message(role=role, content=text_of(content), more=more, loss=loss),)


def _round(turn: Row) -> tuple[Message, ...]:
    """Return a round's question and answer: {"human": ..., "assistant": ...}."""
    asked = next((turn[name] for name in _USERS if turn.get(name) is not None), None)
    told = next((turn[name] for name in _ASSISTANTS if turn.get(name) is not None), None)
    if asked is None and told is None:
        raise Reject("wrong-role")
    found = [] if asked is None else [Message(role="user", content=text_of(asked))]
    if turn.get("system"):
        found.insert(0, Message(role="system", content=text_of(turn["system"])))
    if told is not None:
        found.append(Message(role="assistant", content=text_of(told), loss=_loss(turn)))
    return tuple(found)


def _add_calls(turns: list[Message], turn: Row) -> None:
    """Add calls in a turn of their own to the assistant's turn before them, or as one."""
    loss, calls = _loss(turn), _calls(turn.get("content", turn.get("value")))
    if not turns or turns[-1].role != "assistant":
        turns.append(Message(role="assistant", more={"tool_calls": calls}, loss=loss))
        return
    last = turns[-1]
    if last.loss != loss:
        raise Reject("mixed-loss")
    more = {**last.more, "tool_calls": [*(last.more.get("tool_calls") or ()), *calls]}
    turns[-1] = replace(last, more=more)


def _calls(content: Any) -> list[Mapping[str, Any]]:
    """Return the calls of {"name", "arguments"}, a list of such, or their JSON."""
    try:
        said = listed(content)
    except ValueError as error:
        raise Reject("broken-call") from error
    said = [said] if isinstance(said, Mapping) else said
    if not isinstance(said, list) or not said:
        raise Reject("broken-call")
    return [_one_call(call) for call in said]


def _one_call(said: Any) -> Mapping[str, Any]:
    if isinstance(said, Mapping) and isinstance(said.get("function"), Mapping):
        said = said["function"]
    if not isinstance(said, Mapping):
        raise Reject("broken-call")
    return call_of(said.get("name"), said.get("arguments", said.get("parameters", {})))


def _of_parts(
    role: str, parts: Parts, more: Mapping[str, Any], loss: bool | None, media: list[Media]
) -> Sequence[Message]:
    media += (*parts.result_media, *parts.media)
    named = dict(more)
    if parts.calls:
        if role != "assistant":
            raise Reject("wrong-role")
        named["tool_calls"] = [*named.get("tool_calls", ()), *parts.calls]
    if parts.thoughts:
        named[REASONING[0]] = "".join(parts.thoughts)
    text = "".join(parts.text)
    spoken = Message(role=role, content=text, more=named, loss=loss)
    return (*parts.results, spoken) if text or named or not parts.results else parts.results


def _loss(turn: Row) -> bool | None:
    said = next((turn[name] for name in _LOSSES if turn.get(name) is not None), None)
    if said is None:
        return None
    if isinstance(said, float) and 0 < said < 1:
        raise Reject("fractional-loss")
    if said not in (True, False):  # 0 and 1 are as good
        raise Reject("wrong-shape")
    return bool(said)
