"""Rows to Samples: which format a row is in is seen from its columns.

Add one: a function here under `@format("name", "columns it wants")`, most telling formats first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swift.chat.message import Message, Sample
from swift.core.errors import DataError, Problem, nearest
from swift.core.table import Table
from swift.dataset.sources import Raw
from swift.dataset.turns import (
    ANSWERS,
    QUESTIONS,
    Reject,
    Row,
    answer,
    answered,
    first,
    messages,
    question,
    text_of,
    tools,
)

_SECOND_ANSWERS = ("rejected", "rejected_response", "rejected_messages")


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


formats: Table[Format] = Table("format", tuple, lambda found: found.name)
"""All of them. A plug-in adds one with `@format(...)`."""


def format(name: str, wants: str) -> Callable[[Callable[[Row], Sample]], Callable[[Row], Sample]]:
    """Register the decorated function as the format `name` for rows with the columns `wants`."""

    def register(read: Callable[[Row], Sample]) -> Callable[[Row], Sample]:
        own = read.__module__.startswith("swift.")
        formats.add(Format(name, tuple(wants.split()), read), own=own)
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
        DataError: The format is unknown, or the first row's columns do not fit it (or any), or
            hold no second answer where pairs are wanted.
    """
    named = _named(format)
    begun = False
    for raw in raws:
        if raw.row is None:
            on_reject(raw.trouble, raw.origin)
            continue
        row = _renamed(raw.row, columns) if columns else raw.row
        if not begun:
            _check_columns(row, named, pairs, raw.origin)
            begun = True
        try:
            yield _sample(named or _recognised(row), row, raw.origin, pairs)
        except Reject as reject:
            on_reject(str(reject), raw.origin)


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """Return the row with its columns renamed; one that had the new name already gives way."""
    kept = {name: value for name, value in row.items() if name not in columns}
    return kept | {columns[name]: value for name, value in row.items() if name in columns}


def _named(name: str) -> Format | None:
    if name == "auto":
        return None
    found = formats.get(name)
    if found is None:
        raise DataError(
            Problem(
                where="dataset.format",
                what=f"there is no format `{name}`",
                fix=nearest(name, formats.names()),
            )
        )
    return found


def _recognised(row: Row) -> Format | None:
    return next((f for f in formats.by_weight() if f.fits(row)), None)


def _check_columns(row: Row, named: Format | None, pairs: bool, origin: str) -> None:
    """Refuse a source whose first row shows that none will be understood."""
    seen = ", ".join(map(repr, row)) or "none"
    how = named or _recognised(row)
    if how is None or not how.fits(row):
        asked = [named] if named else formats.rows()
        known = "; ".join(f"{f.name}: {' + '.join(f.wants)}" for f in asked)
        whose = f"not those of `{named.name}`" if named else "no format's"
        raise DataError(
            Problem(
                where=origin,
                what=f"columns {seen} are {whose} ({known})",
                fix="name them: dataset: {name: …, columns: {your_column: query, …}}",
            )
        )
    if pairs and not any(name in row for name in _SECOND_ANSWERS):
        raise DataError(
            Problem(
                where=origin,
                what=f"columns {seen} hold no second answer, and pairs are trained "
                f"(one of {', '.join(_SECOND_ANSWERS)})",
                fix="name it: dataset: {name: …, columns: {your_column: rejected_response}}",
            )
        )


def _sample(how: Format | None, row: Row, origin: str, pairs: bool) -> Sample:
    if how is None:
        raise Reject("unknown-format")
    try:
        made = how.read(row)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Reject("wrong-shape") from error
    if pairs:
        if not made.rejected:
            raise Reject("no-rejected")
        if not made.chosen[-1].role == made.rejected[-1].role == "assistant":
            raise Reject("no-answer")
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
    return Sample(
        chosen=_side(row, row["chosen"]),
        rejected=_side(row, row["rejected"]) if row["rejected"] else (),
        tools=tools(row),
    )


def _side(row: Row, said: Any) -> tuple[Message, ...]:
    """Return the question and one answer to it, which may be a whole conversation itself."""
    if isinstance(said, str):
        return (*_asked(row), answer(said))
    turns = answered(messages(said))
    return turns if turns[0].role in ("system", "developer", "user") else (*_asked(row), *turns)


def _asked(row: Row) -> tuple[Message, ...]:
    prompt = row.get("prompt")
    return messages(prompt) if isinstance(prompt, list) else question(row)


@format("messages", "messages|conversations|conversation")
def _conversation(row: Row) -> Sample:
    """A list of turns (OpenAI's, or ShareGPT's from / value), perhaps with another answer."""
    turns = messages(first(row, ("messages", "conversations", "conversation")))
    if row.get("system") and turns[0].role != "system":
        turns = (Message(role="system", content=text_of(row["system"])), *turns)
    rejected: tuple[Message, ...] = ()
    if row.get("rejected_messages"):
        rejected = answered(messages(row["rejected_messages"]))
    elif row.get("rejected_response"):
        keep = turns[:-1] if turns[-1].role == "assistant" else turns
        rejected = (*keep, answer(row["rejected_response"]))
    return Sample(chosen=answered(turns), rejected=rejected, tools=tools(row))


@format("alpaca", "instruction output|response")
def _alpaca(row: Row) -> Sample:
    """An instruction, perhaps an input to it, and the output."""
    asked = text_of(row["instruction"])
    if row.get("input"):
        asked = f"{asked}\n{text_of(row['input'])}"
    return _turns(row, asked, first(row, ("output", "response")))


@format("query-response", "query|question|prompt|instruction response|answer|completion|output")
def _query_response(row: Row) -> Sample:
    """A question and its answer, as texts or as lists of messages."""
    said = first(row, ANSWERS)
    if isinstance(said, list):
        asked = messages(first(row, QUESTIONS))
        return Sample(chosen=answered((*asked, *messages(said))), tools=tools(row))
    return _turns(row, None, said)


@format("text", "text|content")
def _plain(row: Row) -> Sample:
    """A document."""
    text = text_of(first(row, ("text", "content")))
    if not text.strip():
        raise Reject("empty")
    return Sample(text=text)


def _turns(row: Row, asked: str | None, said: Any) -> Sample:
    before = question(row, asked)
    rejected = row.get("rejected_response") or row.get("rejected")
    return Sample(
        chosen=(*before, answer(said)),
        rejected=(*before, answer(rejected)) if rejected else (),
        tools=tools(row),
    )
