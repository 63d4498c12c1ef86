"""How far two words are apart, as typing mistakes go."""

from __future__ import annotations

from collections.abc import Mapping

FURTHEST, FURTHEST_SHORT, SHORT = 3, 2, 8
"""Edits (a letter more, less, other, or two swapped) after which a name is near no more: 3, and 2
for words below 8 letters. Two mistakes at one place may count three: a letter between swapped ones.
"""


def nearest_of(said: str, known: Mapping[str, str], most: int = 3) -> tuple[str, ...]:
    """Return the names at the least distance from `said`, if that is `FURTHEST` at most.

    Args:
        said: What was written, in lower case.
        known: Names to choose from: in lower case -> as they are shown.
        most: How many, if several are equally near.
    """
    best, found = FURTHEST_SHORT if len(said) < SHORT else FURTHEST, list[str]()
    for key, shown in known.items():
        far = apart(said, key, best)
        if far < best:
            best, found = far, [shown]
        elif far == best:
            found.append(shown)
    found.sort(key=lambda shown: -_alike(said, shown.casefold()))
    return tuple(found[:most])


def apart(a: str, b: str, most: int) -> int:
    """Return the edits between two words, or `most` + 1 if there are more.

    An edit adds, drops or exchanges a letter, or swaps two neighbours (none edited twice).
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            least = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return last[-1]


def _alike(a: str, b: str) -> int:
    """Return how many letters two words begin with alike."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
