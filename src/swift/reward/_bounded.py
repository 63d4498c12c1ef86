"""Regular expressions of users over answers of models: some never end, so each has its time."""

from __future__ import annotations

from functools import lru_cache

import regex

SECONDS = 1.0
"""Time of one expression on one answer."""


@lru_cache(maxsize=64)
def compiled(pattern: str) -> regex.Pattern[str]:
    """Return the compiled expression, in which a dot is any character.

    Raises:
        ValueError: It is none; says why.
    """
    try:
        return regex.compile(pattern, regex.DOTALL)
    except regex.error as error:
        raise ValueError(f"it is no regular expression: {error}") from None


def fits(pattern: str, text: str) -> bool:
    """Return whether the whole text is of this pattern; False, too, when the time is up."""
    try:
        return compiled(pattern).fullmatch(text, timeout=SECONDS) is not None
    except TimeoutError:
        return False


def last(pattern: str, text: str) -> str | None:
    """Return what the last match says (of its first group, if it has one); None without one."""
    found = None
    try:
        for match in compiled(pattern).finditer(text, timeout=SECONDS):
            found = match
    except TimeoutError:
        return None
    if found is None:
        return None
    said: str | None = found[1] if found.re.groups else found[0]
    return said
