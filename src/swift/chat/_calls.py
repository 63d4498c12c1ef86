"""One call's text into its name and arguments."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from swift.chat.tools import Style


@dataclass(frozen=True)
class Call:
    """A tool that the model calls."""

    name: str
    arguments: str
    """A JSON object."""


_WORDS = {"true": True, "false": False, "null": None}


def calls_of(body: str, style: Style, tools: Sequence[Mapping[str, Any]]) -> list[Call]:
    """Return the calls that a text spells from its begin to its end; none where it does not."""
    item, pair = style.patterns
    text, at, found = body.strip(), 0, list[Call]()
    try:
        while at < len(text):
            match = item.match(text, at)
            if match is None or match.end() == at:
                return []
            found += _named(match.groupdict(), pair, tools)
            at = _after_space(text, match.end())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    if style.whole and any(call.name not in _schemas(tools) for call in found):
        return []
    return found


def _named(
    said: Mapping[str, str], pair: re.Pattern[str], tools: Sequence[Mapping[str, Any]]
) -> list[Call]:
    """Return the calls of one item, by the groups that its pattern has.

    Raises:
        ValueError: It is none.
    """
    if "call" in said:
        value = _json(said["call"])
        return [_from_object(one) for one in (value if isinstance(value, list) else [value])]
    if "python" in said:
        return _from_python(said["python"])
    if "arguments" in said:
        return [_call(said["name"], _json(said["arguments"] or "{}"))]
    if "bare" in said:
        return [_call(said["name"], _from_bare(f"{{{said['bare']}}}", pair))]
    types = _schemas(tools).get(said["name"].strip(), {})
    pairs = [match.groupdict() for match in _pairs(said["pairs"], pair)]
    return [_call(said["name"], {p["key"]: _typed(p["value"], types.get(p["key"])) for p in pairs})]


def _pairs(said: str, pair: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Yield the arguments of a text that is nothing but arguments, in time linear in its length.

    Raises:
        ValueError: There is something else. It is not searched on, which would be quadratic.
    """
    at = _after_space(said, 0)
    while at < len(said):
        match = pair.match(said, at)
        if match is None or match.end() == at:
            raise ValueError("something stands between the arguments")
        yield match
        at = _after_space(said, match.end())


_SPACE = re.compile(r"\s*+")


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _from_object(said: Any) -> Call:
    if not isinstance(said, Mapping):
        raise ValueError("a call is an object")
    within = said.get("function")
    said = within if isinstance(within, Mapping) else said
    name = next((said[k] for k in ("name", "tool_name", "function") if k in said), None)
    arguments = next((said[k] for k in ("arguments", "parameters") if k in said), None)
    if arguments is None:
        raise ValueError("a call without arguments")
    return _call(name, _json(arguments) if isinstance(arguments, str) else arguments)


def called(name: str, arguments: str) -> Call | None:
    """Return a call whose arguments are JSON; None where they are no object."""
    try:
        return _call(name, _json(arguments))
    except (ValueError, RecursionError, MemoryError):
        return None


def outside(body: str, quoted: re.Pattern[str]) -> tuple[list[str], bool]:
    """Split a body at its quoted texts: what is around them and what they say, by turns.

    Returns:
        The parts (around, said, around, …, around), and whether a text begins and does not end.
    """
    parts, at = list[str](), 0
    for match in quoted.finditer(body):
        parts += [body[at : match.start()], match["text"]]
        at = match.end()
    mark = quoted.pattern.partition("(")[0].replace("\\", "")
    return [*parts, body[at:]], mark in body[at:]


_KEY = re.compile(r"(?<=[{,])\s*([^\s{}\[\],:\"]+)\s*(?=:)")


def _from_bare(body: str, quoted: re.Pattern[str]) -> Any:
    """Return the value of JSON with bare keys, whose texts stand between other quotes."""
    parts, _ = outside(body, quoted)
    for i, part in enumerate(parts):
        parts[i] = json.dumps(part) if i % 2 else _KEY.sub(lambda m: json.dumps(m[1]), part)
    return _json("".join(parts))


def _from_python(said: str) -> list[Call]:
    with warnings.catch_warnings(action="ignore"):  # of what a model writes nobody need be warned
        tree = ast.parse(said.strip(), mode="eval").body
    if not isinstance(tree, ast.List):
        raise ValueError("no list of calls")
    calls = []
    for node in tree.elts:
        if not isinstance(node, ast.Call) or node.args:
            raise ValueError("no call with named arguments")
        pairs = {k.arg: _value(k.value) for k in node.keywords}
        if None in pairs:
            raise ValueError("arguments have names")
        calls.append(_call(ast.unparse(node.func), pairs))
    return calls


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    return ast.literal_eval(node)


def _call(name: object, arguments: object) -> Call:
    if not isinstance(name, str) or not name.strip() or not isinstance(arguments, Mapping):
        raise ValueError("a call has a name, and arguments by name")
    name.encode()  # half a letter is no name
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(arguments, allow_nan=False)
    except TypeError as error:
        raise ValueError("an argument that JSON has no form for") from error
    return Call(name.strip(), text)


def _typed(text: str, type_: object) -> Any:
    """Return an argument that was spelt as bare text, by the type that the tool names."""
    if type_ == "string":
        return text
    try:
        return _json(text)
    except ValueError:
        return text


def _schemas(tools: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return name of a tool -> name of an argument -> its type."""
    found: dict[str, dict[str, Any]] = {}
    for tool in tools:
        inner = tool.get("function")
        tool = inner if isinstance(inner, Mapping) else tool
        about = tool.get("parameters")
        about = about.get("properties") if isinstance(about, Mapping) else None
        known = about.items() if isinstance(about, Mapping) else ()
        types = {k: v.get("type") for k, v in known if isinstance(v, Mapping)}
        found[str(tool.get("name"))] = types
    return found


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"JSON has no {word}")
