"""Reject: a row that gives no Sample, and the smallest looks at a row that end in one."""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


class Reject(Exception):  # noqa: N818 - it is a verdict on a row, not a failure
    """A row that gives no Sample; its text is the name it is counted under."""


def first(row: Row, names: Iterable[str]) -> Any:
    """Return the value of the first of `names` that the row has one for."""
    empty = False
    for name in names:
        if name in row:
            value = row[name]
            if value is not None:
                return value
            empty = True
    if empty:
        return None
    raise Reject("missing-key")


def listed(said: Any) -> Any:
    """Return what JSON text holds (tables have no lists), and anything else as it is.

    A list that Python printed is read too: many tables hold such.
    """
    if not isinstance(said, str):
        return said
    try:
        return json.loads(said)
    except ValueError:
        if not said.lstrip().startswith(("[", "{")):
            raise
    return _python(said.strip())


def _python(said: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python would rather see doubled
        try:
            return ast.literal_eval(said)
        except (SyntaxError, MemoryError) as error:
            raise Reject("wrong-shape") from error


def encodable(text: str) -> None:
    """Refuse half a character (a lone surrogate, which JSON can spell): no tokenizer takes it."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Reject("half-character") from error


def encodable_tree(said: Any) -> None:
    """Refuse half a character anywhere in a value as JSON has it."""
    encodable(json.dumps(said, ensure_ascii=False, default=str))


def number(said: Any) -> int | float | None:
    """Return the number that is meant, also as a table's text; None where there is none."""
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except ValueError:
            return None
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return said if math.isfinite(said) else None
