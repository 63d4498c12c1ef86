"""What a chat template may spend: it is a program that came with a model, and may be a bad one.

Every turn of a loop and every call of a macro is a step, at which the time is looked at; and what
one step can make out of little (`'a' * 10**9`, a width of a thousand million) is bounded by itself.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Sized
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame

SECONDS = 10.0
"""Processor time that a rendering may take."""

LENGTH = 64 << 20
"""Characters that any text may have."""

_THINGS = 1 << 20
"""Things that a list made by an operator may have."""

_NUMBER = 1_000
"""The largest width, indent or number of places; the longest text of an indent."""

_BITS = 4096
"""Bits of the largest whole number."""

_NUMBERED = frozenset("batch center indent round slice tojson".split())
"""Filters whose numbers say how much is to be made."""

_PADDING = frozenset("center expandtabs ljust rjust zfill".split())
"""Methods of texts whose numbers do."""

_WIDTHS = re.compile(r"\d{6}|%[-#0 +\d.]*\*|:[^{}:]*\{")
"""A width in a format that is too large, or is an argument."""

OPERATORS = frozenset(("+", "*", "**", "%"))
"""Those that make much of little."""


class Exceeded(TemplateError):  # noqa: N818 - it says what happened
    """A template spent more than it may."""


class Clock(threading.local):
    """When the rendering of this thread has to be done."""

    end = float("inf")

    def start(self) -> None:
        """A rendering begins."""
        self.end = time.thread_time() + SECONDS

    def step(self) -> bool:
        """Go on, unless it took too long.

        Raises:
            Exceeded: It did.
        """
        if time.thread_time() > self.end:
            raise Exceeded(f"it takes more than {SECONDS:.0f} s")
        return True


STEP = "_step"
"""Global of a template: its clock's step."""


def count_steps(tree: nodes.Template) -> None:
    """Call the global STEP at each turn of a loop, at each of its tests, and of a macro."""
    for loop in tree.find_all(nodes.For):
        loop.body.insert(0, _step(loop.lineno))
        if loop.test is not None:
            loop.test = nodes.And(_step(loop.lineno).node, loop.test, lineno=loop.lineno)
    for macro in tree.find_all(nodes.Macro):
        macro.body.insert(0, _step(macro.lineno))


def _step(line: int) -> nodes.ExprStmt:
    call = nodes.Call(nodes.Name(STEP, "load", lineno=line), [], [], None, None, lineno=line)
    return nodes.ExprStmt(call, lineno=line)


class Code(CodeGenerator):
    """Jinja's, whose `a ~ b` is as long as may be, and whose steps cost no call in the sandbox."""

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:  # noqa: N802 - jinja2's
        """A step, or `{% do … %}`."""
        if isinstance(node.node, nodes.Call) and getattr(node.node.node, "name", "") == STEP:
            self.writeline("environment.clock.step()", node)
        else:
            super().visit_ExprStmt(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - jinja2's
        """`a ~ b`."""
        self.write("environment.concat(map(str, (")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write(")))")


def together(texts: Iterable[str]) -> str:
    """Join what a template writes.

    Raises:
        Exceeded: It is too long.
    """
    parts = list(texts)
    _check(sum(map(len, parts)))
    return "".join(parts)


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Look at an operation before it is done.

    Raises:
        Exceeded: Too much would come of it.
    """
    if type(left) is str and type(right) is str and operator == "+":  # the usual, and the fastest
        _check(len(left) + len(right))
    elif isinstance(left, int) and isinstance(right, int):
        bits = abs(left).bit_length()
        more = {"**": bits * abs(right), "*": bits + abs(right).bit_length()}.get(operator, bits)
        if more > _BITS:
            raise Exceeded("a number gets too large")
    elif operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(one, Sized) and isinstance(times, int):
                _check(len(one) * times, one)
    elif operator == "+" and isinstance(left, Sized) and isinstance(right, Sized):
        _check(len(left) + len(right), left)
    elif operator == "%" and isinstance(left, str):
        _check_widths(left)


def bounded_filter(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that makes no more than may be."""
    at = 1 if hasattr(made, "jinja_pass_arg") else 0
    if name not in (*_NUMBERED, "format", "replace", "join"):
        return made

    @wraps(made)
    def run(*args: Any, **more: Any) -> Any:
        before, value, given = args[:at], args[at], (*args[at + 1 :], *more.values())
        if name in _NUMBERED:
            _check_numbers(given)
        elif name == "format":
            _check_widths(str(value))
        elif name == "replace":
            _check_replace(str(value), *map(str, given[:2]))
        else:
            value = list(value)
            _check_join(
                max((one for one in given if isinstance(one, str)), key=len, default=""), value
            )
        return made(*before, value, *args[at + 1 :], **more)

    return run


def check_method(method: Any, args: tuple[Any, ...], more: dict[str, Any]) -> None:
    """Look at a call of a text's own method before it is done.

    Raises:
        Exceeded: Too much would come of it.
    """
    text = getattr(method, "__self__", None)
    if not isinstance(text, str):
        return
    name = getattr(method, "__name__", "")
    if name in _PADDING:
        _check_numbers((*args, *more.values()))
    elif name == "replace" and len(args) > 1:
        _check_replace(text, str(args[0]), str(args[1]))
    elif name == "join" and args and isinstance(args[0], Sized):
        _check_join(text, args[0])
    elif name in ("format", "format_map"):
        _check_widths(text)


def _check_numbers(given: Iterable[Any]) -> None:
    """Refuse numbers, and texts to indent with, that no chat needs."""
    for one in given:
        if isinstance(one, int | float) and abs(one) > _NUMBER:
            raise Exceeded(f"a number is above {_NUMBER}")
        if isinstance(one, str | tuple) and len(str(one)) > _NUMBER:
            raise Exceeded(f"a text to indent with is longer than {_NUMBER}")


def _check_join(between: str, texts: Any) -> None:
    own = sum(len(one) for one in texts if isinstance(one, str))
    _check(own + len(between) * len(texts))


def _check_replace(text: str, old: str = "", new: str = "") -> None:
    """Refuse to make a long text of another."""
    if len(new) > len(old):
        _check(text.count(old) * len(new))


def _check_widths(form: str) -> None:
    if ("%" in form or "{" in form) and _WIDTHS.search(form):
        raise Exceeded("a width is too large")


def _check(length: int, kind: Sized = "") -> None:
    if length > (most := LENGTH if isinstance(kind, str) else _THINGS):
        raise Exceeded(f"a text or a list gets longer than {most}")
