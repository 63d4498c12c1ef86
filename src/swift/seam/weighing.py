"""Tokens that count more or less than others in a mean, by rules on the tokens themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from swift.core.errors import Problem, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swift.chat.tokenize import Tokenizer

BETWEEN = "..."
"""Between the two tokens of a rule about a stretch of them."""


class Rule(NamedTuple):
    """The weight of one token; or of all from one to the next `last`, both included."""

    first: int
    last: int | None
    weight: float


def rules_of(said: Mapping[str, float], tokenizer: Tokenizer) -> tuple[Rule, ...]:
    """Return what {"<tool_call>": 2, "<think>...</think>": 0.1} means of ids.

    Raises:
        UserError: A text is no single token; all such are named.
    """
    found, problems = [], []
    for text, weight in said.items():
        ids = []
        for part in (text,) if BETWEEN not in text else text.split(BETWEEN, 1):
            pieces = tokenizer.backend.encode(part, add_special_tokens=False)
            if len(pieces.ids) == 1:
                ids.append(pieces.ids[0])
                continue
            what = f"`{part}` is {len(pieces.ids)} tokens of this model: {pieces.tokens[:8]}"
            fix = f"name one token, or two with `{BETWEEN}` between them"
            problems.append(Problem(where="method.token_weights", what=what, fix=fix))
        if ids:
            found.append(Rule(ids[0], ids[1] if len(ids) > 1 else None, weight))
    if problems:
        raise UserError(problems)
    return tuple(found)


def weights(ids: NDArray[np.int32], rules: Sequence[Rule]) -> NDArray[np.float64]:
    """Return the weight of each token of a sequence: 1, or what the last rule about it says.

    A stretch that does not end in the sequence goes to its end.
    """
    found = np.ones(len(ids))
    for first, last, weight in rules:
        begins = np.flatnonzero(ids == first)
        if last is None:
            found[begins] = weight
            continue
        ends = np.flatnonzero(ids == last)
        for begin in begins.tolist():
            after = ends[ends > begin]
            found[begin : int(after[0]) + 1 if len(after) else len(ids)] = weight
    return found
