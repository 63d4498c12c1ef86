"""Which message made which characters: a chat template that says so while it renders.

The template's syntax tree gets invisible marks: one before each piece of output, and a pair around
the body of every loop, which tell which message the loop is at. Taking the marks out gives the
plain rendering; where they stood gives the pieces. Nothing is known of any family of models.
"""

from __future__ import annotations

import datetime
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from swift.chat._bounds import (
    OPERATORS,
    STEP,
    Clock,
    Code,
    bounded_filter,
    check_method,
    check_operator,
    count_steps,
    together,
)
from swift.chat.message import Arguments
from swift.core.errors import DataError, Problem

if TYPE_CHECKING:
    from jinja2.parser import Parser

PIECE, OPEN, CLOSE, SAID, DONE = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4"
"""A piece begins; a message's body begins, ends (its number follows); a `{% generation %}` block
begins, ends. Unicode keeps these codes for programs' own use: no text has them."""

MARK = re.compile("([\ufdd0\ufdd3\ufdd4]|[\ufdd1\ufdd2].)", re.DOTALL)
ANY_MARK = re.compile("[\ufdd0-\ufdd4]")
_FIRST = 0xF0000
"""Numbers are written as characters, the first as this one."""

_BUFFERED = (nodes.Macro, nodes.AssignBlock, nodes.CallBlock, nodes.FilterBlock)


class Generation(Extension):
    """`{% generation %} … {% endgeneration %}`: the template's own word for what is trained."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the body, between two marks where these are wanted."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        world = self.environment
        if not isinstance(world, World) or not world.marking:
            return body
        world.says = True
        return [_text(SAID, line), *body, _text(DONE, line)]


class World(ImmutableSandboxedEnvironment):
    """The sandbox chat templates run in, with transformers' settings."""

    code_generator_class = Code
    concat = staticmethod(together)
    intercepted_binops = OPERATORS

    def __init__(self, *, marking: bool) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
        )
        self.marking = marking
        self.clock = Clock()
        self.says = False
        """Whether the template has `{% generation %}` blocks; known once it is parsed."""
        self.globals["dict"] = lambda *args, **more: dict(*args, **more)
        self.globals["namespace"] = _Names
        self.globals["_which"] = _which
        self.globals[STEP] = self.clock.step
        del self.globals["lipsum"]
        self.filters = {name: bounded_filter(name, made) for name, made in self.filters.items()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        count_steps(tree)
        if self.marking:
            _mark(tree)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Do an operation that does not make too much."""
        check_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    # A template may name an argument `self`: hence jinja2's own names, without N805.
    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - a template may name self
        """Call what does not make too much."""
        check_method(__obj, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)


class _Names(Namespace):
    """A namespace that takes no private names, as in transformers."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise TypeError(f"a template may not set `{name}`")
        super().__setitem__(name, value)


class Numbered(dict[str, Any]):
    """A message that knows its place."""

    number = -1


def _which(item: Any, sign: str) -> str:
    return f"{sign}{chr(_FIRST + item.number)}" if isinstance(item, Numbered) else ""


def _text(text: str, line: int) -> nodes.Output:
    return nodes.Output([nodes.TemplateData(text, lineno=line)], lineno=line)


def _mark(node: nodes.Node) -> None:
    """Put marks into everything under `node` that writes straight into the result."""
    for child in node.iter_child_nodes():
        if not isinstance(child, _BUFFERED):
            _mark(child)
    if isinstance(node, nodes.Output):
        first = nodes.TemplateData(PIECE, lineno=node.lineno)
        node.nodes = [n for piece in node.nodes for n in (first, piece)]
    if isinstance(node, nodes.For) and isinstance(node.target, nodes.Name):
        if _counts(node):
            for name in _after_assignments(node.body):
                node.body.append(_call(name, CLOSE, node.lineno))
        else:
            begin, end = (_call(node.target.name, sign, node.lineno) for sign in (OPEN, CLOSE))
            node.body = [begin, *node.body, end]


def _counts(loop: nodes.For) -> bool:
    """Whether a loop runs over numbers, `range(...)`: its messages are picked by assignment."""
    call = loop.iter
    return (
        isinstance(call, nodes.Call)
        and isinstance(call.node, nodes.Name)
        and call.node.name == "range"
    )


def _after_assignments(body: list[nodes.Node]) -> list[str]:
    """Put a mark after each `set name = …` of a counting loop; return the names."""
    names: list[str] = []
    for i in range(len(body) - 1, -1, -1):
        node = body[i]
        if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            names.append(node.target.name)
            body.insert(i + 1, _call(node.target.name, OPEN, node.lineno))
        elif isinstance(node, nodes.If):
            for branch in (node.body, node.else_, *(e.body for e in node.elif_)):
                names += _after_assignments(branch)
    return list(dict.fromkeys(names))


def _call(name: str, sign: str, line: int) -> nodes.Output:
    call = nodes.Call(
        nodes.Name("_which", "load", lineno=line),
        [nodes.Name(name, "load", lineno=line), nodes.Const(sign, lineno=line)],
        [],
        None,
        None,
        lineno=line,
    )
    return nodes.Output([call], lineno=line)


@dataclass(frozen=True)
class Trace:
    """A rendering and where its parts begin and end, in characters."""

    text: str

    turns: Sequence[tuple[int, int, int]]
    """(message, begin, end) of what was written while the loop was at a message."""

    pieces: Sequence[int]
    """Where pieces begin."""

    said: Sequence[tuple[int, int]]
    """What `{% generation %}` encloses."""

    def turn_of(self, begin: int) -> int:
        """Return the message whose turn holds a character, -1 where none does."""
        return next((n for n, first, end in self.turns if first <= begin < end), -1)

    def without_header(self, begin: int, end: int, header: str) -> tuple[int, int]:
        """Cut the header off a turn: at the last beginning of a piece in it, or at its end.

        A generation prompt that stops within a header (a bare role, to be followed by a channel or
        a receiver) leaves headers to the model: then they are trained.
        """
        if header[-1:].isalnum():
            return begin, end
        turn = self.text[begin:end]
        shared = next((i for i, c in enumerate(header) if not turn.startswith(c, i)), len(header))
        last = self.pieces[bisect_right(self.pieces, begin + shared) - 1]
        if last > begin:
            return last, end
        return (begin + shared if shared == len(header) else begin), end


def read(marked: str) -> Trace:
    """Take the marks out of a rendering."""
    parts = MARK.split(marked)  # text, mark, text, mark, …, text
    size = opened = begun = 0
    turns: list[tuple[int, int, int]] = []
    pieces: list[int] = []
    said: list[tuple[int, int]] = []
    at: list[int] = []  # loops may stand in loops: an answer with its tools' results, say
    for text, mark in zip(parts[::2], (*parts[1::2], CLOSE), strict=True):
        size += len(text)
        if mark == PIECE:
            pieces.append(size)
        elif mark == SAID:
            begun = size
        elif mark == DONE:
            said.append((begun, size))
        else:
            if at and size > opened:
                turns.append((at[-1], opened, size))
            opened = size
            number = ord(mark[-1]) - _FIRST
            if mark[0] == OPEN:
                at.append(number)
            elif number in at:
                del at[at.index(number) :]
    return Trace("".join(parts[::2]), turns, pieces, said)


def holds_marks(value: Any) -> bool:
    """Tell whether a mark stands in a text anywhere in `value`."""
    if isinstance(value, str):
        return ANY_MARK.search(value) is not None
    if isinstance(value, Mapping):
        return any(holds_marks(v) or holds_marks(k) for k, v in value.items())
    return isinstance(value, Iterable) and any(map(holds_marks, value))


def compiled(source: str, *, marking: bool, world: type[World] = World) -> Any:
    """Return a template in its sandbox, with what transformers gives it.

    Raises:
        DataError: It is not Jinja.
    """
    made = world(marking=marking)
    made.filters["tojson"] = bounded_filter("tojson", _tojson)
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return made.from_string(source)
    except TemplateSyntaxError as error:
        raise DataError(
            Problem(where=f"chat template, line {error.lineno}", what=f"not Jinja: {error.message}")
        ) from error
    except Exception as error:  # nested too deeply, for Jinja or for Python
        what = f"cannot be compiled: {error or type(error).__name__}"
        raise DataError(Problem(where="chat template", what=what)) from error


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(value, Arguments) and indent is None and not sort_keys:
        return value.text
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
