r"""Whether two final answers say the same: as text, as numbers with units, as lists of these."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

from swift.reward._value import LONGEST, Number, same, value

_WRITTEN = (
    (
        re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}"),
        r" \1",
    ),
    (re.compile(r"\\(?:left|right|displaystyle|limits|big|Big)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z])"), ""),
    (re.compile(r"(?<=\d)\{,\}(?=\d{3})"), ""),
    (re.compile(r"(?<=\d)\\[,!; ](?=\d)"), ""),
    (re.compile(r"\\[()\[\],;:! ]|\\q?quad(?![a-zA-Z])|\\?\$|~|\*\*"), " "),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])|[×·]"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])|÷"), "/"),
    (re.compile(r"\\pi(?![a-zA-Z])|π"), " pi "),
    (re.compile(r"√"), r"\\sqrt"),
    (re.compile(r"\\%"), "%"),
)
_SUPER = str.maketrans({s: f"^{d}" for d, s in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})
_DASH = str.maketrans(dict.fromkeys("−–—‐‑‒﹣－", "-"))
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED = re.compile(r"(?<![\d.])\d{1,3}(?: \d{3})+(?![\d/ ])")
_SCALES = {"dozen": 12, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ONE_LETTER = frozenset("mgshLlNJWVAKCF")
"""Letters that are units; any other one is a variable."""

_MOST = 20
"""Members of a list that are compared in any order."""

_DEEPEST = 3
"""Lists in lists."""

_PAIRS = {"(": ")", "[": "]", "\\{": "\\}"}
_CHOICE = re.compile(r"\(?([A-Ja-j])(?:[).:,]|\s|$)")


def equal(said: str, truth: str, tolerance: float = 0.0) -> bool | None:
    """Return whether two final answers say the same; None where only algebra could tell.

    Args:
        said: The answer.
        truth: What is right.
        tolerance: Share of a right number by which another may differ.
    """
    if said.strip() == truth.strip():
        return True
    if max(len(said), len(truth)) > 2 * LONGEST:
        return False
    one, other = _plain(said), _plain(truth)
    if not one or not other:
        return False
    if one.count("=") != other.count("="):  # x = 5 is 5
        one, other = one.rpartition("=")[2].strip(), other.rpartition("=")[2].strip()
    return _equal(one, other, tolerance, 0)


def _equal(one: str, other: str, tolerance: float, depth: int) -> bool | None:
    if _bare(one) == _bare(other):
        return True
    if len(other) == 1 and other.isalpha():
        choice = _CHOICE.match(one)
        return choice is not None and choice[1].casefold() == other.casefold()
    left, right = _quantity(one), _quantity(other)
    if left and right:
        return _same_quantity(left, right, tolerance)
    lists = _members(one), _members(other)
    if max(len(members) for _, members in lists) > 1 and depth < _DEEPEST:
        return _same_members(*lists, tolerance, depth + 1)
    return None if _algebra(one) or _algebra(other) else False


def _plain(text: str) -> str:
    """Return the text in one spelling: no mathematics delimiters, one minus, one fraction."""
    text = "".join(f" {_folded(c)}" if "⁄" in _folded(c) else c for c in text.translate(_SUPER))
    text = unicodedata.normalize("NFKC", text.translate(_DASH)).replace("⁄", "/")
    for pattern, instead in _WRITTEN:
        text = pattern.sub(instead, text)
    return " ".join(text.split()).strip("`\"' ").rstrip(".。,;:!? ").strip()


def _folded(character: str) -> str:
    return unicodedata.normalize("NFKC", character) if character > "\x7f" else character


def _bare(text: str) -> str:
    """Return what must agree of two texts: letters in one case, without white space."""
    tight = "".join(text.split()).casefold()
    return (
        tight[1:-1] if tight[:1] == "(" and tight[-1:] == ")" and tight[1:-1].isalpha() else tight
    )


def _algebra(text: str) -> bool:
    return any(c in "\\^_{}<>=+*/√" for c in text) or (
        any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    )


# --- numbers -----------------------------------------------------------------------------------


def _quantity(text: str) -> tuple[Number, str] | None:
    """Return a number and its unit, "" for none."""
    if len(text) > LONGEST:
        return None
    text = _SPACED.sub(lambda m: m[0].replace(" ", ""), text)
    if not any(c in "([" for c in text):  # there it is a list
        text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    unit = ""
    if text[:1] in tuple("€£¥₹"):
        text, unit = text[1:], text[0]
    if text.endswith("%"):
        text, unit = text[:-1], "%"
    found = value(text)
    if found is not None:
        return found, unit
    cut = _unit_at(text)
    tail, found = text[cut:].strip(), value(text[:cut])
    if found is None or not tail:
        return None
    first, _, rest = tail.partition(" ")
    if first.casefold() in _SCALES:
        found, tail = found * _SCALES[first.casefold()], rest
    if tail.casefold() in ("percent", "per cent"):
        return found, "%"
    bare = tail.partition("^")[0]
    if len(bare) == 1 and bare not in _ONE_LETTER:
        return None
    return found, "".join(tail.casefold().split()).rstrip("s.")


def _unit_at(text: str) -> int:
    """Return where the letters at the end of a text begin; a power of 2 or 3 goes with them."""
    end = len(text)
    if re.search(r"[a-zA-Z]\^\{?[23]\}?$", text):
        end = text.rindex("^")
    while end > 0 and (text[end - 1].isalpha() or text[end - 1] in " /.") and not _stop(text, end):
        end -= 1
    return end


def _stop(text: str, end: int) -> bool:
    return text[end - 1] in "/." and text[end - 2 : end - 1].isdigit() and not text[end:].strip()


def _same_quantity(one: tuple[Number, str], other: tuple[Number, str], tolerance: float) -> bool:
    """Compare numbers; a unit that only one side has is no difference, and 50% is 0.5 and 50."""
    (left, unit), (right, wanted) = one, other
    if unit and wanted and unit != wanted:
        return False
    if same(left, right, tolerance):
        return True
    if "%" not in (unit, wanted) or unit == wanted:
        return False
    hundredth = Fraction(1, 100)
    if unit == "%":
        return same(left * hundredth, right, tolerance)
    return same(left, right * hundredth, tolerance)


# --- lists -------------------------------------------------------------------------------------


def _members(text: str) -> tuple[str, list[str]]:
    """Return the bracket and the members of a list: (1, 2), [1, 2), {1, 2}, or 1, 2 without."""
    ends = "".join(text[: 1 + text.startswith("\\{")]), ""
    inside, bracket = text, ""
    if ends[0] in _PAIRS:
        close = next((c for c in (")", "]", "\\}") if text.endswith(c)), "")
        if close:
            inside, bracket = text[len(ends[0]) : -len(close)], ends[0] + close
    if not bracket:
        inside = re.sub(r"\s(?:and|or)\s", " , ", inside)
    parts, depth, start = [], 0, 0
    for at, c in enumerate(inside):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append(inside[start:at].strip())
            start = at + 1
    parts.append(inside[start:].strip())
    return bracket, [part for part in parts if part]


def _same_members(
    one: tuple[str, Sequence[str]],
    other: tuple[str, Sequence[str]],
    tolerance: float,
    depth: int,
) -> bool | None:
    (bracket, left), (wanted, right) = one, other
    loose = {"", "\\{\\}"}
    if len(left) != len(right) or (bracket != wanted and not {bracket, wanted} <= loose):
        return False
    if bracket not in loose or len(left) > _MOST:
        found = [_equal(a, b, tolerance, depth) for a, b in zip(left, right, strict=True)]
        return False if False in found else None if None in found else True
    rest = list(right)
    for part in left:
        match = next((i for i, b in enumerate(rest) if _equal(part, b, tolerance, depth)), None)
        if match is None:
            return None if any(map(_algebra, (*left, *rest))) else False
        del rest[match]
    return True
