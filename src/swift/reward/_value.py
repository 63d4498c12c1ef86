r"""What an expression of numbers is worth: 3/4, 1.5e3, 2\sqrt{3}, \frac{\pi}{2}, 3 1/2.

Nothing here takes long: texts are short, powers are bounded, brackets are not deep. Values are
exact where they are rational, else floating-point numbers.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = Fraction | float

LONGEST = 200
"""Characters of an expression that is looked at."""

_DEEPEST = 20
_BITS = 20_000

_TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d{1,3}(?![\d.]))?|\.\d+)|(\\frac|\\sqrt|pi|[-+*/^(){}\[\]]))"
)
_MIXED = (
    re.compile(r"(?<![\d.])(\d+)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}"),
    re.compile(r"(?<![\d.])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])"),
)


def value(text: str) -> Number | None:
    """Return what `text` is worth; None where it is no such expression, or too long a one."""
    if not text or len(text) > LONGEST:
        return None
    for mixed in _MIXED:
        text = mixed.sub(r"(\1+\2/\3)", text)
    try:
        reader = _Reader(text)
        found = reader.sum(0)
        return found if reader.ended and _finite(found) else None
    except (ValueError, ArithmeticError):
        return None


def same(one: Number, other: Number, tolerance: float) -> bool:
    """Return whether two values are equal: exactly, where both are rational.

    Args:
        one: A value.
        other: The one it is held against.
        tolerance: Share of `other` by which they may differ; 1e-9 at least for irrational ones.
    """
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other or (
            tolerance > 0 and abs(one - other) <= Fraction(tolerance) * abs(other)
        )
    try:
        return math.isclose(float(one), float(other), rel_tol=max(tolerance, 1e-9), abs_tol=1e-12)
    except OverflowError:
        return False


class _Reader:
    """Reads tokens one after the other; ValueError where they make no expression."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError
            self._tokens.append(match[1] or match[2])
            at = match.end()
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._tokens)

    def sum(self, depth: int) -> Number:
        if depth > _DEEPEST:
            raise ValueError
        found = self._product(depth)
        while self._next in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            found = found + sign * self._product(depth)
        return found

    def _product(self, depth: int) -> Number:
        found = self._signed(depth)
        while True:
            word = self._next
            if word in ("*", "/"):
                self._take()
                other = self._signed(depth)
                found = found * other if word == "*" else found / other
            elif word in ("(", "\\frac", "\\sqrt", "pi"):
                found = found * self._power(depth)
            else:
                return found

    def _signed(self, depth: int) -> Number:
        sign = 1
        while self._next in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        return sign * self._power(depth)

    def _power(self, depth: int) -> Number:
        base = self._atom(depth)
        if self._next != "^":
            return base
        self._take()
        sign = -1 if self._next == "-" and self._take() else 1
        return _raised(base, sign * self._atom(depth))

    def _atom(self, depth: int) -> Number:
        word = self._take()
        if word == "pi":
            return math.pi
        if word == "\\frac":
            return self._piece(depth) / self._piece(depth)
        if word == "\\sqrt":
            degree = (
                self._between("]", depth) if self._next == "[" and self._take() else Fraction(2)
            )
            return _raised(self._piece(depth), 1 / degree)
        if word in ("(", "{"):
            return self._between(")" if word == "(" else "}", depth)
        return _figure(word)

    def _piece(self, depth: int) -> Number:
        r"""Return what \frac or \sqrt takes: braces, or one figure of what follows."""
        word = self._next
        if word and word.isdigit() and len(word) > 1:
            self._tokens[self._at] = word[1:]
            return _figure(word[0])
        return self._atom(depth + 1) if depth < _DEEPEST else self._fail()

    def _between(self, end: str, depth: int) -> Number:
        found = self.sum(depth + 1)
        return found if self._take() == end else self._fail()

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        word = self._next
        self._at += 1
        return word or str(self._fail())

    def _fail(self) -> Number:
        raise ValueError


def _figure(word: str) -> Fraction:
    if not (word[:1].isdigit() or word[:1] == "."):
        raise ValueError
    return Fraction(word if not word.endswith(".") else word[:-1])


def _raised(base: Number, power: Number) -> Number:
    """Return base ** power: exact where it is rational, and small enough to be."""
    if isinstance(base, Fraction) and isinstance(power, Fraction):
        if power.denominator == 1:
            size = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(power) * size > _BITS:
                raise ValueError
            exact: Fraction = base ** int(power)
            return exact
        if power == Fraction(1, 2) and base >= 0:
            roots = math.isqrt(base.numerator), math.isqrt(base.denominator)
            if roots[0] ** 2 == base.numerator and roots[1] ** 2 == base.denominator:
                return Fraction(*roots)
    if base < 0:
        raise ValueError
    found: float = float(base) ** float(power)
    return found


def _finite(found: Number) -> bool:
    return isinstance(found, Fraction) or math.isfinite(found)
