"""A chat template run on contents that are watched (see `_watched.py`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.runtime import LoopContext, Macro
from jinja2.visitor import NodeTransformer

from swift.chat._bounds import OPERATORS
from swift.chat._traced import World, compiled
from swift.chat._watched import Unfollowed, Watched, holds, joined

_BY_TYPE = frozenset(
    "string defined undefined none mapping number integer float boolean callable sequence "
    "iterable true false".split()
)
"""Tests that ask for the type alone: the answer is that of any text."""

_BY_VALUE = frozenset(("eq", "equalto", "==", "ne", "!="))
"""Tests that ask what a content does itself."""

_DIRECT = frozenset(("trim", "string", "default", "d"))
"""Filters that ask of a content what it follows itself."""

_THROUGH = frozenset(
    "list length count first last selectattr rejectattr select reject map reverse".split()
)
"""Filters that hand the things in a list on, and ask nothing of them."""


_OF_JINJA = frozenset(("_loop_vars", "_block_vars"))
"""What Jinja's own code hands to every call."""


class Watching(World):
    """The world of templates, in which contents are watched."""

    concat = staticmethod(joined)
    intercepted_binops = OPERATORS | {"-", "/", "//"}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Told().visit(super()._parse(source, name, filename))
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return of a content what texts have."""
        if isinstance(obj, Watched) and not hasattr(str, attribute):
            return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return of a content what texts have."""
        if isinstance(obj, Watched) and isinstance(argument, str):
            return self.getattr(obj, argument)
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse what reads a content."""
        if operator == "+" and (isinstance(left, Watched) or isinstance(right, Watched)):
            return left + right
        if operator != "+" and (holds(left) or holds(right)):
            raise Unfollowed(operator)
        return super().call_binop(context, operator, left, right)

    # A template may name an argument `self`: hence jinja2's own names, without N805.
    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - a template may name self
        """Refuse to hand a content to what cannot be followed."""
        own = isinstance(getattr(__obj, "__self__", None), dict | list | LoopContext | Watched)
        own = own or isinstance(__obj, Macro) or any(__obj is one for one in __self.followed)
        given = (*args, *(kwargs[name] for name in kwargs if name not in _OF_JINJA))
        if not own and any(map(holds, given)):
            raise Unfollowed("a call with a content")
        return super().call(__context, __obj, *args, **kwargs)

    followed: tuple[Any, ...] = ()
    """Globals that do with a content what can be followed."""


class _Told(NodeTransformer):
    """Names what Python would do without asking the content."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - jinja2's interface
        """`a ~ b`."""
        self.generic_visit(node)
        listed = nodes.List(node.nodes, lineno=node.lineno)
        return _call("_joined", listed, node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - jinja2's interface
        """`content in "…"`."""
        self.generic_visit(node)
        asks = [operand.op in ("in", "notin") for operand in node.ops]
        if asks[0]:
            node.expr = _call("_looked", node.expr, node.lineno)
        for ask, operand in zip(asks[1:], node.ops, strict=False):
            if ask:
                operand.expr = _call("_looked", operand.expr, node.lineno)
        return node


def _call(name: str, argument: nodes.Expr, line: int) -> nodes.Call:
    made = nodes.Call(nodes.Name(name, "load"), [argument], [], None, None)
    return made.set_lineno(line)  # type: ignore[return-value]  # jinja2 says Node of itself


def _looked(value: Any) -> Any:
    if isinstance(value, Watched):
        raise Unfollowed("a content looked for")
    return value


def _all_joined(texts: list[Any]) -> str:
    return joined(text if isinstance(text, Watched) else str(text) for text in texts)


def watching(source: str) -> Any:
    """Return the marked template in a world that watches contents."""
    template = compiled(source, marking=True, world=Watching)
    world: Watching = template.environment
    world.globals |= {"_looked": _looked, "_joined": _all_joined}
    named = ("_looked", "_joined", "_which", "namespace", "dict", "range")
    world.followed = tuple(world.globals[name] for name in named)
    world.filters = {name: _filter(name, made) for name, made in world.filters.items()}
    tests: dict[str, Any] = world.tests
    world.tests = {name: _test(name, made) for name, made in tests.items()}
    return template


def _filter(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    skip = 1 if hasattr(made, "jinja_pass_arg") else 0

    @wraps(made)
    def run(*args: Any, **more: Any) -> Any:
        given = (*args[skip:], *more.values())
        if name in _DIRECT:
            given = given[1:]
        if name in _THROUGH:
            given = tuple(value for value in given if isinstance(value, Watched))
        if any(map(holds, given)):
            raise Unfollowed(f"| {name}")
        return made(*args, **more)

    return run


def _test(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    skip = 1 if hasattr(made, "jinja_pass_arg") else 0

    @wraps(made)
    def run(*args: Any, **more: Any) -> Any:
        if name in _BY_TYPE:
            args = tuple("x" if isinstance(value, Watched) else value for value in args)
        elif name not in _BY_VALUE and any(map(holds, args[skip:])):
            raise Unfollowed(f"is {name}")
        return made(*args, **more)

    return run
