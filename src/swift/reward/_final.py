r"""What an answer comes to: its last \boxed{...}, <answer>...</answer> or #### line.

All of it is linear in the text's length, whatever the text.
"""

from __future__ import annotations

import re

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"\\boxed\s+([^\s{}$]+)")
_NUMBER = re.compile(r"[-+−]?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")


def spoken(text: str, *, opened: bool = False) -> str | None:
    """Return what is said after the thinking; None where the thinking has no end."""
    _, ended, after = text.rpartition("</think>")
    if ended:
        return after
    return None if opened or "<think>" in text else text


def marked(text: str) -> str | None:
    """Return what stands in the mark that begins last; None without one."""
    found = [f for f in (_boxed(text), _bare(text), _tagged(text), _hashed(text)) if f is not None]
    return max(found)[1].strip() if found else None


def last_number(text: str) -> str | None:
    """Return the last number that is written in figures; None without one."""
    found = None
    for match in _NUMBER.finditer(text):
        found = match[0]
    return found.rstrip(",") if found else None


def _boxed(text: str) -> tuple[int, str] | None:
    open_: list[int | None] = []
    best: tuple[int, str] | None = None
    for match in _BRACES.finditer(text):
        word = match[0]
        if word == "}":
            start = open_.pop() if open_ else None
            if start is not None and (best is None or start > best[0]):
                best = (start, text[start : match.start()])
        elif word.endswith("{") and word != "\\{":
            open_.append(match.end() if word != "{" else None)
    return best


def _bare(text: str) -> tuple[int, str] | None:
    best = None
    for match in _BARE.finditer(text):
        best = (match.start(1), match[1].rstrip(".,"))
    return best


def _tagged(text: str) -> tuple[int, str] | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return (start + 8, text[start + 8 : end]) if start >= 0 else None


def _hashed(text: str) -> tuple[int, str] | None:
    start = text.rfind("####")
    if start < 0:
        return None
    line = text[start + 4 :].lstrip(" \t").partition("\n")[0]
    return (start + 4, line) if line.strip() else None
