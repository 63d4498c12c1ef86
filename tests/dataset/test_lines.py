"""Lines of JSON are read by a fast parser and by Python's own, and both mean the same."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swift.dataset.readers.lines import _parsed, _quick

NUMBER = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
ODD = st.sampled_from(
    "NaN Infinity -Infinity -NaN +1 01 1. .5 - -0 -0.0 nan inf 1e 0x10 1_0 1e400 -1e-400 00 --1 "
    "TRUE true null false True".split()
)
PIECES = r"\u d800 dc00 \ud83d \ude00 \uD83D\uDE00 \n \/ \" \\ \x a é 😀 \u0000 \uD800 0041".split()
TEXT = st.lists(
    st.sampled_from([*PIECES, "\x00", "\x1f", "\x7f", "\u2028", "\ufeff", "\t", "\n"]), max_size=5
).map(lambda parts: f'"{"".join(parts)}"')
SPACE = st.sampled_from(["", "", " ", "\t", "\r", "\x0b", "\xa0", "\ufeff", "//x"])
KEY = TEXT | st.sampled_from(['"a"', '"b"', "a", "1", "'a'"])


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
    pairs = st.lists(st.tuples(KEY, SPACE, inner), max_size=3).map(
        lambda pairs: f"{{{','.join(f'{key}{space}:{value}' for key, space, value in pairs)}}}"
    )
    return items | pairs


def exact(value: Any) -> Any:
    """Return what tells apart all that == does not: 1 and 1.0 and True, 0.0 and -0.0, orders."""
    if isinstance(value, dict):
        return [(key, exact(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    return type(value).__name__, value


@settings(max_examples=400)
@given(st.tuples(SPACE, st.recursive(NUMBER | ODD | TEXT, nested, max_leaves=6), SPACE))
@example(("", '{"a": 1, "b": 2, "a": 3}', ""))
@example(("", '{"a": 123456789012345678901234567890, "b": 0.1e-400, "c": -0}', ""))
@example(("", "[2.2250738585072011e-308, 9007199254740993.0, 5e-324, 2.4703282292062328e-324]", ""))
@example(("", '{"a": NaN, "b": [Infinity, -Infinity]}', ""))
@example(("", '{"a": "\\ud800", "\\udc00": "\\ud83d\\ude00"}', ""))
def test_what_the_fast_parser_accepts_python_reads_alike(parts: tuple[str, str, str]) -> None:
    line = "".join(parts)
    quick = _quick(line.encode())
    if quick is not None:
        assert exact(quick) == exact(json.loads(line))


@given(st.floats(), st.integers(1, 25))
def test_every_float_is_read_to_the_bit(value: float, digits: int) -> None:
    for line in (json.dumps(value), f"{value:.{digits}e}".replace("inf", "Infinity")):
        line = line.replace("nan", "NaN")
        assert exact(_quick(line.encode())) == exact(json.loads(line))


@pytest.mark.parametrize("depth", [10, 100, 190, 210, 900, 100_000])
def test_a_line_of_any_depth_is_read_or_refused_as_by_python(depth: int) -> None:
    line = '{"a":' * depth + "1" + "}" * depth
    try:
        told: Any = json.loads(line)
    except RecursionError:
        told = None
    found = _quick(line.encode())
    found = _parsed(line) if found is None else found
    assert (found is None) == (told is None)
    while isinstance(told, dict):
        found, told = found["a"], told["a"]
    assert found == told


@pytest.mark.parametrize("digits", [4300, 4301, 100_000])
def test_a_number_of_thousands_of_digits_is_refused_where_python_refuses(digits: int) -> None:
    line = "1" * digits
    assert (_quick(line.encode()) is None) == (_parsed(line) is None) == (digits > 4300)
