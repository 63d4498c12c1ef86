"""YAML 1.2 in and out: a plain tree, the line of every key, and all that is wrong at once.

`1e-4` is a number, `no` is a word, `0777` is 777, a date is text, and a key written twice is a
mistake. Nothing but maps, lists, text, numbers, true, false and null comes out.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from swift.core.errors import Problem

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a tree: ("tuner", "rank") or ("dataset", 0, "name")."""

MAX_BYTES = 1 << 20
"""The largest file that is read: a recipe has a few hundred bytes."""

_MAX_NODES = 20_000
"""Values in a tree, each alias counted as often as it is used: no bomb of aliases expands."""

_TAG = "tag:yaml.org,2002:"
_TEXT = frozenset({f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value", f"{_TAG}merge", "!"})
_PLAIN = frozenset(f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float"))


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a text says. With problems, `tree` holds what could be read in spite of them."""

    tree: Mapping[str, Any] = field(default_factory=dict)
    """The map at the top; {} for an empty text."""

    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    """The line, from 1, of each key and of each item of a list."""

    problems: tuple[Problem, ...] = ()


def read(path: Path) -> Document:
    """Read a file; one that is absent, too large or no text is a problem, never an exception."""
    try:
        if path.is_dir():
            return _failed(Problem(what=f"`{path}` is a folder, not a YAML file", where=str(path)))
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            what = f"`{path}` is larger than {MAX_BYTES >> 20} MiB, so it is no recipe"
            return _failed(Problem(what=what, where=str(path)))
        return parse(raw.decode("utf-8-sig"), name=str(path))
    except FileNotFoundError:
        return _failed(Problem(what=f"there is no file `{path}`", fix=_neighbours(path)))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"byte {error.start} is not UTF-8"
        return _failed(Problem(what=what, fix="save it as UTF-8", where=f"{path}:{line}"))
    except OSError as error:
        return _failed(Problem(what=f"cannot read `{path}`: {error.strerror}", where=str(path)))
    except ValueError as error:  # of letters that no path has
        return _failed(Problem(what=f"cannot read {str(path)!a}: {error}"))


def parse(text: str, *, name: str) -> Document:
    """Parse `text`; `name` stands before the line numbers of its problems.

    A syntax error spoils the block it stands in (from one key at the left margin to the next);
    the other blocks are read all the same, so that one slip does not hide the rest.
    """
    problems: list[Problem] = []
    node = _compose(text, name, problems)
    if node is None:
        return Document(problems=tuple(problems))
    if not isinstance(node, MappingNode):
        what = "the file is not a map of keys and values"
        return _failed(Problem(what=what, fix="write `key: value` lines", where=f"{name}:1"))
    reader = _Reader(name, problems)
    tree = reader.plain(node, ())
    problems.sort(key=_line_of)
    return Document(tree=tree, lines=reader.lines, problems=tuple(problems))


def flag(text: str) -> Any:
    """Return the value that `text` is on a command line: a number, a word, a list, a map, null.

    What YAML cannot read, or reads as a map without braces, is text as it stands, so that a path
    or a template needs no second layer of quotes.

    Raises:
        ValueError: It opens a list or a map (`[`, `{`) and does not close it properly.
    """
    first = text.lstrip()[:1]
    braced = first in ("[", "{")
    problems: list[Problem] = []
    node = _compose(text, "", problems, blocks=False)
    if node is None or problems:
        if braced:
            raise ValueError(problems[0].what)
        return text
    value = _Reader("", problems).plain(node, ())
    if problems and braced:
        raise ValueError("; ".join(p.what for p in problems))
    if problems or (isinstance(value, dict | list) and not braced):
        return text
    return text if isinstance(value, str) and first not in ("'", '"') else value


def dump(tree: Mapping[str, Any]) -> str:
    """Return YAML that `parse` reads back as `tree`."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(dict(tree), out)
    return out.getvalue()


def _failed(problem: Problem) -> Document:
    return Document(problems=(problem,))


def _neighbours(path: Path) -> str:
    """Say which YAML files stand where one was looked for."""
    folder = path.parent
    try:
        near = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))[:6]
    except OSError:
        return f"there is no folder `{folder}` either"
    return "there are: " + ", ".join(f"`{folder / n}`" for n in near) if near else ""


def _compose(text: str, name: str, problems: list[Problem], *, blocks: bool = True) -> Node | None:
    """Compose, blanking out a spoilt block and going on, a few times at most."""
    lines = text.split("\n")
    for _ in range(20):
        try:
            return YAML(typ="safe", pure=True).compose("\n".join(lines))  # type: ignore[no-any-return]  # ruamel is untyped
        except RecursionError:
            problems.append(Problem(what="it is nested too deeply", where=name))
            return None
        except YAMLError as error:
            at = _blame(error)
            problems.append(_syntax(error, name, at))
            if not blocks or at is None or not _blank(lines, at):
                return None
        except ValueError as error:  # ruamel, on odd escapes and numbers
            problems.append(Problem(what=f"it is not YAML: {error}", where=name))
            return None
    return None


def _blame(error: YAMLError) -> int | None:
    """Return the line, from 0, where the mistake begins, when the error knows it."""
    if not isinstance(error, MarkedYAMLError):
        return None
    opened = error.context_mark if "while" in str(error.context) else None
    mark = opened or error.problem_mark
    return None if mark is None else int(mark.line)


def _syntax(error: YAMLError, name: str, at: int | None) -> Problem:
    if isinstance(error, MarkedYAMLError):
        said = " ".join(str(s) for s in (error.problem, error.context) if s)
    else:
        said = str(error).splitlines()[0]
    fix = {
        "\\t": "indent with spaces",
        "mapping values are not allowed": "put the value in quotes, or its keys on their own lines",
        "another document": "keep one recipe in a file",
    }
    repair = next((f for sign, f in fix.items() if sign in said), "")
    where = name if at is None else f"{name}:{at + 1}"
    return Problem(what=f"this is not YAML: {said}", fix=repair, where=where)


def _blank(lines: list[str], at: int) -> bool:
    """Empty the block around line `at`; False if there was nothing left to empty."""
    at = min(at, len(lines) - 1)
    first = at
    while first > 0 and (not lines[first] or lines[first][0] in " \t#-]}"):
        first -= 1
    last = at + 1
    while last < len(lines) and (not lines[last] or lines[last][0] in " \t#-]}"):
        last += 1
    emptied = any(lines[first:last])
    lines[first:last] = [""] * (last - first)
    return emptied


def _line_of(problem: Problem) -> int:
    head = problem.where.split(" ")[0].rpartition(":")[2]
    return int(head) if head.isdigit() else 0


class _Reader:
    """Turns nodes into plain values, noting lines and problems on the way."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self._name = name
        self._problems = problems
        self._left = _MAX_NODES
        self._open: set[int] = set()
        self.lines: dict[KeyPath, int] = {}
        constructor = YAML(typ="safe", pure=True).constructor
        self._scalar: Callable[[Node], Any] = constructor.construct_object

    def plain(self, node: Node, path: KeyPath) -> Any:
        """Return the value of `node`, which stands at `path`."""
        self._left -= 1
        if self._left == 0:
            self._say("it holds more values than a recipe can", node, path)
        if self._left <= 0:
            return None
        if isinstance(node, ScalarNode):
            return self._value(node, path)
        if id(node) in self._open:
            self._say("it holds itself", node, path)
            return None
        self._open.add(id(node))
        inside = self._map if isinstance(node, MappingNode) else self._list
        value = inside(node, path)
        self._open.discard(id(node))
        return value

    def _map(self, node: Node, path: KeyPath) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._say("a key must be a word", key_node, path)
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in tree:
                first = self.lines[here]
                what = f"`{dotted(here)}` is written twice, first on line {first}"
                self._say(what, key_node, here, fix="keep one of them")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            tree[key] = self.plain(value_node, here)
        return tree

    def _list(self, node: Node, path: KeyPath) -> list[Any]:
        items = []
        for i, item in enumerate(node.value):
            self.lines[(*path, i)] = item.start_mark.line + 1
            items.append(self.plain(item, (*path, i)))
        return items

    def _value(self, node: ScalarNode, path: KeyPath) -> Any:
        tag = str(node.tag)
        if tag in _TEXT:
            return node.value
        if tag not in _PLAIN:
            self._say(f"the tag `{tag}` is not plain YAML", node, path, fix="leave it out")
            return node.value
        try:
            return self._scalar(node)
        except (ValueError, YAMLError):
            self._say(f"`{node.value[:40]}` cannot be read as the number it looks like", node, path)
            return node.value

    def _say(self, what: str, node: Node, path: KeyPath, *, fix: str = "") -> None:
        where = f"{self._name}:{node.start_mark.line + 1} {dotted(path)}".rstrip()
        self._problems.append(Problem(what=what, fix=fix, where=where))


def dotted(path: KeyPath) -> str:
    """Return "dataset[0].name" for ("dataset", 0, "name")."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
