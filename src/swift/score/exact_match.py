"""Exact match: the answer is the truth, as text or as a JSON value."""

from __future__ import annotations

import json
from typing import Any, Literal, NoReturn

from swift.core.errors import DataError, Problem
from swift.score import Score, scores


@scores.add("exact_match")
class ExactMatch(Score):
    """1 where answer and truth are the same, else 0."""

    normal: Literal["text", "json"] = "text"
    """text: letter by letter, but for white space around. json: as JSON values, keys in any order,
    types exactly: 3 is neither 3.0 nor true."""

    def judge(self, answer: str, truth: str) -> float:
        """Return 1.0 or 0.0.

        Raises:
            DataError: `truth` is no JSON where JSON is compared.
        """
        if self.normal == "text":
            return float(answer.strip() == truth.strip())
        if spelled(truth) is None:
            what = f"the right answer is no JSON: {truth[:60]!r}"
            raise DataError(Problem(where="normal", what=what, fix="compare as text"))
        return float(same_json(answer, truth))


def same_json(answer: str, truth: str) -> bool:
    """Return whether `answer` is JSON and equal to `truth`: keys in any order, types exactly.

    3 is neither 3.0 nor true, and a key said twice is no answer.
    """
    said = spelled(answer)
    return said is not None and said == spelled(truth)


def spelled(text: str) -> str | None:
    """Return the one spelling of a JSON text; None where it is none.

    3, 3.0, "3" and true are spelled differently; NaN and infinities are no JSON.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is said twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
