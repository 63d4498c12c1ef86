"""Repetition: what an answer costs that says the same over and over."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from swift.reward import Answer, Reward, rewards


@rewards.add("repetition")
class Repetition(Reward):
    """`penalty` times the share of tokens that stand in an n-gram which was there before.

    The n-gram repetition penalty of arXiv:2502.03373, appendix C.2, gives each such token its
    penalty; this is the mean of it over the answer's tokens.
    """

    ngram: int = Field(default=40, ge=1)
    """Tokens in a row that make a repetition when they come again."""

    penalty: float = Field(default=-1.0, le=0)
    """What an answer that is nothing but repetition would get."""

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return a number from `penalty` to 0 for each; 0 for an answer of fewer tokens."""
        return [self.penalty * repeated(a.ids, self.ngram) for a in answers]


def repeated(ids: Sequence[int], ngram: int) -> float:
    """Return the share of tokens in n-grams that were there before, in [0, 1)."""
    seen: set[int] = set()
    count, marked = 0, 0  # tokens before `marked` are counted, or in no repetition
    for start, number in enumerate(_numbers(ids, ngram)):
        if number in seen:
            count += start + ngram - max(start, marked)
            marked = start + ngram
        seen.add(number)
    return count / len(ids) if count else 0.0


def _numbers(ids: Sequence[int], ngram: int) -> list[int]:
    """Return a number for each n-gram, the same for equal ones: in N log(ngram), whatever ngram.

    Numbers of n-grams of a power of two come from pairs of half as long ones; one of any length is
    two of these that overlap.
    """
    if len(ids) < ngram:
        return []
    size, ranks = 1, _ranked([(int(token), 0) for token in ids])
    while 2 * size <= ngram:
        ranks = _ranked(list(zip(ranks, ranks[size:], strict=False)))
        size *= 2
    return _ranked(list(zip(ranks, ranks[ngram - size :], strict=False)))


def _ranked(pairs: Sequence[tuple[int, int]]) -> list[int]:
    known: dict[tuple[int, int], int] = {}
    return [known.setdefault(pair, len(known)) for pair in pairs]
