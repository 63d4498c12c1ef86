"""Rows to Samples: which format a row is in is seen from its columns.

Add one: a function here under `@format("name", "columns it wants")`, most telling formats first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swift.chat.message import Message, Sample
from swift.core.errors import DataError, Problem, nearest
from swift.dataset.sources import Raw

Row = Mapping[str, Any]


class Reject(Exception):  # noqa: N818 - it is a verdict on a row, not a failure
    """A row that gives no Sample; its text is the name it is counted under."""


@dataclass(frozen=True)
class Format:
    """A way to spell samples in columns."""

    name: str
    wants: tuple[str, ...]
    """Columns that must be there, alternatives joined by "|"."""

    read: Callable[[Row], Sample]

    def fits(self, columns: Iterable[str]) -> bool:
        """Return whether a row with these columns may be in this format."""
        have = set(columns)
        return all(any(c in have for c in want.split("|")) for want in self.wants)


FORMATS: dict[str, Format] = {}


def format(name: str, wants: str) -> Callable[[Callable[[Row], Sample]], Callable[[Row], Sample]]:
    """Register the decorated function as the format `name` for rows with the columns `wants`."""

    def register(read: Callable[[Row], Sample]) -> Callable[[Row], Sample]:
        FORMATS[name] = Format(name, tuple(wants.split()), read)
        return read

    return register


def to_samples(
    raws: Iterable[Raw],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    pairs: bool = False,
    on_reject: Callable[[str, str], None],
) -> Iterator[Sample]:
    """Yield the Samples of rows.

    Args:
        raws: Rows of one source.
        format: Name of a format; auto: the first one that a row's columns fit.
        columns: Columns to rename first.
        pairs: Whether each Sample must have a rejected side.
        on_reject: Is told (name, origin) of every row that gives no Sample.

    Raises:
        DataError: The format is unknown, or the first row's columns fit none.
    """
    chosen = _named(format)
    first = True
    for raw in raws:
        if raw.row is None:
            on_reject(raw.trouble, raw.origin)
            continue
        row = {columns.get(k, k): v for k, v in raw.row.items()} if columns else raw.row
        how = chosen or _recognised(row)
        if how is None and first:
            raise _unknown(row, raw.origin)
        try:
            yield _sample(how, row, raw.origin, pairs)
        except Reject as reject:
            on_reject(str(reject), raw.origin)
        first = False


def _named(name: str) -> Format | None:
    if name == "auto":
        return None
    if name not in FORMATS:
        raise DataError(
            Problem(
                where="dataset.format",
                what=f"there is no format `{name}`",
                fix=nearest(name, list(FORMATS)),
            )
        )
    return FORMATS[name]


def _recognised(row: Row) -> Format | None:
    return next((f for f in FORMATS.values() if f.fits(row)), None)


def _unknown(row: Row, origin: str) -> DataError:
    known = "; ".join(f"{f.name}: {' + '.join(f.wants)}" for f in FORMATS.values())
    return DataError(
        Problem(
            where=origin,
            what=f"columns {', '.join(map(repr, row)) or 'none'} are no format's ({known})",
            fix="name them: dataset: {name: …, columns: {your_column: query, …}}",
        )
    )


def _sample(how: Format | None, row: Row, origin: str, pairs: bool) -> Sample:
    if how is None:
        raise Reject("unknown-format")
    try:
        made = how.read(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Reject("wrong-shape") from error
    if pairs and not made.rejected:
        raise Reject("no-rejected")
    return Sample(
        chosen=made.chosen,
        rejected=made.rejected if pairs else (),
        text=made.text,
        tools=made.tools,
        origin=origin,
    )


# --- the formats, the most telling first -------------------------------------------------------


@format("preference", "chosen rejected")
def _preference(row: Row) -> Sample:
    """Two answers: message lists, or strings beside `prompt` (or another name of a question)."""
    if isinstance(row["chosen"], str):
        asked = _question(row)
        return Sample(
            chosen=(*asked, _answer(row["chosen"])), rejected=(*asked, _answer(row["rejected"]))
        )
    asked = _messages(row["prompt"]) if isinstance(row.get("prompt"), list) else ()
    chosen, rejected = _messages(row["chosen"]), _messages(row["rejected"])
    whole = len(chosen) > 1 or not asked
    return Sample(
        chosen=_checked(chosen if whole else (*asked, *chosen)),
        rejected=_checked(rejected if whole else (*asked, *rejected)),
        tools=_tools(row),
    )


@format("messages", "messages|conversations|conversation")
def _conversation(row: Row) -> Sample:
    """A list of turns (OpenAI's, or ShareGPT's from / value), perhaps with another answer."""
    said = next(row[k] for k in ("messages", "conversations", "conversation") if k in row)
    turns = _messages(said)
    system = row.get("system")
    if isinstance(system, str) and system and turns and turns[0].role != "system":
        turns = (Message(role="system", content=system), *turns)
    rejected: tuple[Message, ...] = ()
    if row.get("rejected_messages"):
        rejected = _checked(_messages(row["rejected_messages"]))
    elif row.get("rejected_response"):
        rejected = (*turns[:-1], _answer(row["rejected_response"]))
    return Sample(chosen=_checked(turns), rejected=rejected, tools=_tools(row))


@format("alpaca", "instruction output|response")
def _alpaca(row: Row) -> Sample:
    """An instruction, perhaps an input to it, and the output."""
    asked = _text(row["instruction"])
    if row.get("input"):
        asked = f"{asked}\n{_text(row['input'])}"
    said = row["output"] if "output" in row else row["response"]
    return _turns(row, asked, said)


@format("query-response", "query|question|prompt|instruction response|answer|completion|output")
def _query_response(row: Row) -> Sample:
    """A question and its answer."""
    said = next(row[k] for k in ("response", "answer", "completion", "output") if k in row)
    if isinstance(said, list):
        asked = next(row[k] for k in ("prompt", "query", "question") if k in row)
        return Sample(chosen=_checked((*_messages(asked), *_messages(said))), tools=_tools(row))
    return _turns(row, None, said)


@format("text", "text|content")
def _plain(row: Row) -> Sample:
    """A document."""
    text = _text(row["text"] if "text" in row else row["content"])
    if not text.strip():
        raise Reject("empty")
    return Sample(text=text)


# --- parts ---------------------------------------------------------------------------------------

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_ROLES |= {"function_call": "assistant", "observation": "tool", "function": "tool"}
_KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def _turns(row: Row, asked: str | None, said: Any) -> Sample:
    before = _question(row, asked)
    rejected = row.get("rejected_response") or row.get("rejected")
    return Sample(
        chosen=(*before, _answer(said)),
        rejected=(*before, _answer(rejected)) if rejected else (),
        tools=_tools(row),
    )


def _question(row: Row, asked: str | None = None) -> tuple[Message, ...]:
    """Return system, history and question."""
    if asked is None:
        names = ("query", "question", "prompt", "instruction")
        asked = _text(next(row[k] for k in names if k in row))
    if not asked.strip():
        raise Reject("empty-question")
    turns: list[Message] = []
    if row.get("system"):
        turns.append(Message(role="system", content=_text(row["system"])))
    for before, after in row.get("history") or ():
        turns.append(Message(role="user", content=_text(before)))
        turns.append(Message(role="assistant", content=_text(after)))
    return (*turns, Message(role="user", content=asked))


def _answer(said: Any) -> Message:
    if isinstance(said, str) and not said.strip():
        raise Reject("empty-answer")
    return Message(role="assistant", content=_text(said))


def _messages(said: Any) -> tuple[Message, ...]:
    if not isinstance(said, list) or not said:
        raise Reject("wrong-shape")
    return tuple(_message(turn) for turn in said)


def _message(turn: Any) -> Message:
    role = turn.get("role", turn.get("from"))
    role = _ROLES.get(role, role)
    if role not in _KNOWN_ROLES:
        raise Reject("wrong-role")
    content = turn.get("content", turn.get("value"))
    more = {
        k: v
        for k, v in turn.items()
        if k not in ("role", "from", "content", "value", "loss") and v is not None
    }
    if content is None and more.get("tool_calls"):
        content = ""
    loss = turn.get("loss")
    return Message(
        role=role, content=_text(content), more=more, loss=None if loss is None else bool(loss)
    )


def _checked(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Refuse a conversation in which the assistant says nothing."""
    answers = [m for m in turns if m.role == "assistant"]
    if not answers:
        raise Reject("no-answer")
    if not any(m.content.strip() or m.more.get("tool_calls") for m in answers):
        raise Reject("empty-answer")
    return turns


def _tools(row: Row) -> tuple[Mapping[str, Any], ...]:
    tools = row.get("tools") or ()
    if isinstance(tools, str):
        import json

        tools = json.loads(tools)
    if not all(isinstance(t, Mapping) for t in tools):
        raise Reject("wrong-shape")
    return tuple(tools)


def _text(said: Any) -> str:
    """Return a string; content in parts is joined if all parts are text."""
    if isinstance(said, list) and all(isinstance(p, Mapping) and "text" in p for p in said):
        said = "".join(p["text"] for p in said)
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    return said
