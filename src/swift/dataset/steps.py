"""The steps that adapters are made of; each takes a row and the words behind its name.

Any LookupError, TypeError or ValueError says that the row has another shape.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Words = Sequence[str]

_PLACE = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def rename(row: Row, words: Words) -> Iterable[Row]:
    """Rename columns: `old>new ...`; `old>_` leaves one out. One that had the name gives way."""
    names = dict(word.split(">") for word in words)
    kept = {key: value for key, value in row.items() if key not in names}
    moved = {names[key]: value for key, value in row.items() if key in names}
    moved.pop("_", None)
    return [kept | moved]


def keep(row: Row, words: Words) -> Iterable[Row]:
    """Leave out rows in which a column says something else: `column=value ...`, or `a=x,y`."""
    pairs = (word.split("=", 1) for word in words)
    return [row] if all(str(row[key]) in value.split(",") for key, value in pairs) else []


def fill(row: Row, words: Words) -> Iterable[Row]:
    """Write columns: `column='text with {other} columns' ...`, without spaces around it.

    `{column.key}` is what a map in a column holds.
    """
    made = dict(row)
    for word in words:
        key, text = word.split("=", 1)
        made[key] = _filled(text.replace("\\n", "\n"), made).strip()
    return [made]


def join(row: Row, words: Words) -> Iterable[Row]:
    """Write a column of those of others that are there and say something: `new=a,b,c`, in lines."""
    made = dict(row)
    for word in words:
        key, names = word.split("=")
        lines = [_text(row[name]) for name in names.split(",") if row.get(name)]
        if not lines:
            raise KeyError(names)
        made[key] = "\n".join(lines)
    return [made]


def cut(row: Row, words: Words) -> Iterable[Row]:
    """Cut a text in two where a mark first stands: `column mark before after`."""
    name, mark, before, after = words
    head, sign, tail = row[name].partition(mark)
    if not sign:
        raise ValueError("the mark is not there")
    return [dict(row) | {before: head.strip(), after: tail.strip()}]


def first(row: Row, words: Words) -> Iterable[Row]:
    """Take the first item of columns that hold lists: `column ...`."""
    return [dict(row) | {key: row[key][0] for key in words}]


def parsed(row: Row, words: Words) -> Iterable[Row]:
    """Read columns that hold JSON, or a value as Python writes it, as text: `column ...`."""
    return [dict(row) | {key: _parsed(row[key]) for key in words}]


def inside(row: Row, words: Words) -> Iterable[Row]:
    """Take what a map in a column holds as columns: `column key ...`."""
    name, *keys = words
    return [dict(row) | {key: row[name][key] for key in keys}]


def pick(row: Row, words: Words) -> Iterable[Row]:
    """Take the item of a list that another column numbers, from 0: `new=list[number] ...`."""
    made = dict(row)
    for word in words:
        new, items, number = re.fullmatch(r"(\w+)=(\w+)\[(\w+)\]", word).groups()  # type: ignore[union-attr]  # None: the catalogue is wrong
        made[new] = _item(row[items], int(row[number]))
    return [made]


def options(row: Row, words: Words) -> Iterable[Row]:
    """Ask with lettered options, and answer by letter: `question options number`."""
    question, choices, number = (row[word] for word in words)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    lines = [_lettered(letters[i], _text(choice)) for i, choice in enumerate(choices)]
    _item(choices, int(number))
    asked = "\n".join([_text(question), *lines])
    return [dict(row) | {"query": asked, "response": letters[int(number)]}]


def say(row: Row, words: Words) -> Iterable[Row]:
    """Say a class in words: `column 0=first 1='the second' ...`."""
    name, *said = words
    return [dict(row) | {name: dict(word.split("=", 1) for word in said)[str(row[name])]}]


def turns(row: Row, words: Words) -> Iterable[Row]:
    """Make messages of a list of exchanges: `column user=question assistant=answer`.

    An exchange is a map with those keys, or a list of the texts in that order; one that lacks a
    text has no such turn.
    """
    name, *said = words
    roles = [word.split("=") for word in said]
    messages = []
    for item in _parsed(row[name]):
        texts = [item.get(key) for _, key in roles] if isinstance(item, Mapping) else item
        pairs = zip(roles, texts, strict=True)
        messages += [{"role": role, "content": text} for (role, _), text in pairs if text]
    kept = {key: value for key, value in row.items() if key != name}
    return [kept | {"messages": messages}]


def talk(row: Row, words: Words) -> Iterable[Row]:
    """Make messages of turns whose keys have other names: `old>new role text`."""
    name, role, text = words
    old, new = name.split(">")
    kept = {key: value for key, value in row.items() if key != old}
    messages = [{"role": turn[role], "content": turn[text]} for turn in _parsed(row[old])]
    return [kept | {new: messages}]


def end(row: Row, words: Words) -> Iterable[Row]:
    """End messages with the better of two answers, beside the worse: `messages better worse`."""
    messages, better, worse = (row[word] for word in words)
    kept = {key: value for key, value in row.items() if key not in words}
    answer = {"role": "assistant", "content": better}
    return [kept | {"messages": [*messages, answer], "rejected_response": worse}]


def transcript(row: Row, words: Words) -> Iterable[Row]:
    """Make messages of a text with `Human:` and `Assistant:` before each turn: `old>new ...`."""
    made = dict(row)
    for word in words:
        old, new = word.split(">")
        before, *parts = _SPEAKER.split(made.pop(old))
        if before.strip() or not parts:
            raise ValueError("no transcript")
        said = zip(parts[::2], parts[1::2], strict=True)
        roles = {"Human": "user", "Assistant": "assistant"}
        made[new] = [{"role": roles[who], "content": text.strip()} for who, text in said]
    return [made]


def each(row: Row, words: Words) -> Iterator[Row]:
    """Make a row of each item of lists that go together: `questions>query answers>response`."""
    names = [word.split(">") for word in words]
    kept = {key: value for key, value in row.items() if key not in dict(names)}
    for items in zip(*(row[old] for old, _ in names), strict=True):
        yield kept | {new: item for (_, new), item in zip(names, items, strict=True)}


def flat(row: Row, words: Words) -> Iterator[Row]:
    """Make a row of each map in a list, beside the row's other columns: `column`."""
    (name,) = words
    kept = {key: value for key, value in row.items() if key != name}
    yield from (kept | item for item in _parsed(row[name]))


def media(row: Row, words: Words) -> Iterable[Row]:
    """Put pictures, films or sounds into the list that formats read: `images=column ...`.

    `images='folder/{column}.jpg'` writes a path that is looked for under data.image_folder, one
    for each item of a column that holds a list. A row without any (null) has none.
    """
    made = dict(row)
    for word in words:
        kind, said = word.split("=", 1)
        place = _PLACE.search(said)
        name = place[1] if place else said
        items = row[name] if isinstance(row[name], list | tuple) else [row[name]]
        there = [item for item in items if item is not None]
        made[kind] = [_filled(said, {**row, name: item}) for item in there] if place else there
    return [made]


def boxes(row: Row, words: Words) -> Iterable[Row]:
    """Put names and boxes of things into `objects`: `ref=column bbox=column scale=real|norm1`."""
    said = dict(word.split("=") for word in words)
    ref, box = row[said["ref"]], row[said["bbox"]]
    names = list(ref) if isinstance(ref, list | tuple) else [ref]
    found = list(box) if box and isinstance(box[0], list | tuple) else [list(box)]
    if len(names) > len(found) == 1:
        names = names[:1]  # further names of the one thing
    if len(names) != len(found):
        raise ValueError("names and boxes do not go together")
    objects = {"ref": names, "bbox": found, "bbox_type": said.get("scale", "real")}
    return [dict(row) | {"objects": objects}]


def spans(row: Row, words: Words) -> Iterable[Row]:
    """Mark things in a text by where they are said: `text spans`, as places for `objects`.

    A span is [first letter, letter after the last, x1, y1, x2, y2, ...], its box from 0 to 1. Of
    spans that overlap only the first is marked.
    """
    text, found = row[words[0]], sorted(row[words[1]])
    pieces, at = [], 0
    ref, bbox = [], []
    for begin, end, *box in found:
        begin, end = int(begin), int(end)
        if begin < at:
            continue
        pieces += [text[at:begin], "<ref-object><bbox>"]
        ref.append(text[begin:end])
        bbox.append([float(x) for x in box[:4]])
        at = end
    pieces.append(text[at:])
    objects = {"ref": ref, "bbox": bbox, "bbox_type": "norm1"}
    return [dict(row) | {words[0]: "".join(pieces), "objects": objects}]


def texts(row: Row, words: Words) -> Iterable[Row]:
    """Make rows for embeddings and rerankers: `query=column positive=column negative=column`.

    `role=assistant`: what is compared with the query are answers to it.
    """
    said = dict(word.split("=") for word in words)
    role = said.pop("role", "user")
    made = {key: value for key, value in row.items() if key not in said.values()}
    made["messages"] = _message(row[said["query"]])
    for side in ("positive", "negative"):
        if side in said:
            items = row[said[side]]
            many = items if isinstance(items, list | tuple) else [items]
            made[f"{side}_messages"] = [_message(item, role) for item in many]
    return [made]


def calls(row: Row, words: Words) -> Iterable[Row]:
    """Make a conversation of a question, the calls that answer it, and the tools: `a b c`."""
    question, made, offered = (row[word] for word in words)
    functions = [{"name": c["name"], "arguments": c["arguments"]} for c in _parsed(made)]
    asked = [{"type": "function", "function": function} for function in functions]
    answer = {"role": "assistant", "content": "", "tool_calls": asked}
    kept = {key: value for key, value in row.items() if key not in words}
    tools = [_tool(tool) for tool in _parsed(offered)]
    return [kept | {"messages": [*_message(question), answer], "tools": tools}]


def _tool(said: Mapping[str, Any]) -> Row:
    """Return a tool in OpenAI's shape; a bare map of parameters becomes a schema of an object."""
    if said.get("type") == "function":
        return said
    parameters = said.get("parameters") or {}
    if "properties" not in parameters:
        parameters = {"type": "object", "properties": parameters}
    return {"type": "function", "function": {**said, "parameters": parameters}}


def _message(text: Any, role: str = "user") -> list[dict[str, str]]:
    if not isinstance(text, str):
        raise TypeError("no text")
    return [{"role": role, "content": text}]


def _item(items: Any, number: int) -> Any:
    if number < 0:
        raise IndexError(number)
    return items[number]


def _lettered(letter: str, choice: str) -> str:
    """Return an option behind its letter, which many data sets have written there already."""
    return choice if choice.startswith((f"{letter}.", f"({letter})")) else f"{letter}. {choice}"


def _filled(text: str, row: Row) -> str:
    """Return `text` with `{column}` and `{column.key}` filled in."""

    def value(place: re.Match[str]) -> str:
        found = row[place[1]]
        return _text(found[place[2]] if place[2] else found)

    return _PLACE.sub(value, text)


def _text(said: Any) -> str:
    return "" if said is None else str(said)


def _parsed(said: Any) -> Any:
    """Return the value that a text spells, in JSON or as Python; what is no text stays."""
    if not isinstance(said, str):
        return said
    try:
        return json.loads(said)
    except ValueError:
        try:
            return ast.literal_eval(said)
        except (SyntaxError, MemoryError) as error:
            raise ValueError("neither JSON nor Python") from error


_EDITS = (rename, keep, fill, join, cut, first, parsed, inside, pick, say)
_SHAPES = (options, turns, talk, end, transcript, each, flat, media, boxes, spans, texts, calls)
STEPS = {step.__name__: step for step in (*_EDITS, *_SHAPES)}
"""All of them, by name."""
