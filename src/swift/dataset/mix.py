"""In which order the rows of several data sets come: one after the other, or by their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from math import lcm
from typing import Any, Literal, TypeAlias, TypeVar

from swift.core.errors import DataError, Problem

R = TypeVar("R")
_END = object()

Stopping: TypeAlias = Literal["first_exhausted", "all_exhausted"]


def mixed(
    parts: Sequence[Callable[[], Iterable[R]]],
    weights: Sequence[float] | None = None,
    *,
    stopping: Stopping = "first_exhausted",
    on_repeat: Callable[[int], None] = lambda part: None,
) -> Iterator[R]:
    """Yield the rows of all parts; nothing in it is left to chance or to the machine.

    Without weights every row comes once, part after part. With weights the parts take turns: at
    any time each has given its share of the rows so far, to within one row.

    Args:
        parts: Each returns its rows from the beginning, whenever it is called.
        weights: A positive number for each part; only their ratios count.
        stopping: first_exhausted: end when the part whose turn it is has no row left, so that no
            row comes twice. all_exhausted: begin such a part again, until each came to its end.
        on_repeat: Is told the number of a part each time that one of its rows comes again.

    Raises:
        DataError: A part has a weight and no rows.
    """
    if weights is None or len(parts) < 2:
        yield from chain.from_iterable(part() for part in parts)
        return
    rows = [iter(part()) for part in parts]
    ahead: list[Any] = [next(row, _END) for row in rows]  # so that an end is known as it comes
    ended, again = [False] * len(parts), [False] * len(parts)
    for number in turns(weights):
        if ahead[number] is _END:
            if stopping == "first_exhausted":
                return
            rows[number], again[number] = iter(parts[number]()), True
            ahead[number] = next(rows[number], _END)
            if ahead[number] is _END:
                raise _empty(number)
        row, ahead[number] = ahead[number], next(rows[number], _END)
        if again[number]:
            on_repeat(number)
        yield row
        ended[number] |= ahead[number] is _END
        if stopping == "all_exhausted" and all(ended):
            return


def turns(weights: Sequence[float]) -> Iterator[int]:
    """Yield, for ever, whose turn it is.

    After n turns a part with share s has had n s of them, to within one. That is Tijdeman's rule
    (The chairman assignment problem, 1980): of the parts that are due, the one that could wait
    least. All in whole numbers.

    Args:
        weights: Positive numbers.
    """
    whole = _whole(weights)
    total, slack = sum(whole), 2 * len(whole) - 2
    had = [0] * len(whole)
    n = 0
    while slack == 0:
        yield 0
    while True:
        n += 1
        best, wait = -1, (0, 1)
        for number, weight in enumerate(whole):
            owed = weight * n - had[number] * total  # in parts of `total`
            if owed * slack < total:
                continue  # it would be more than a turn ahead
            left = total * (slack - 1) - owed * slack
            if best < 0 or left * wait[1] < wait[0] * weight:
                best, wait = number, (left, weight)
        had[best] += 1
        yield best


def shares(weights: Sequence[float]) -> list[Fraction]:
    """Return the share of each weight in all; together they are one."""
    whole = _whole(weights)
    return [Fraction(weight, sum(whole)) for weight in whole]


def _whole(weights: Sequence[float]) -> list[int]:
    """Return whole numbers in the ratio of the weights as they are written (0.1 is a tenth)."""
    exact = [Fraction(repr(weight)) for weight in weights]
    if not all(weight > 0 for weight in exact):
        raise ValueError("a weight is more than 0")
    scale = lcm(*(weight.denominator for weight in exact))
    return [int(weight * scale) for weight in exact]


def _empty(number: int) -> DataError:
    what = f"the data set number {number + 1} has a weight, and no rows"
    return DataError(Problem(where="dataset", what=what, fix="leave it out"))
