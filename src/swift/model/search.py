"""Which models a few words mean: `qwen3`, `qwen2.5 7b`, `0.5b`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swift.model.names import Row, bare, rows

_SIZE = re.compile(r"(\d+(?:\.\d+)?)b")
_MARKS = re.compile(r"[-_.\s]")


def search(words: Iterable[str]) -> list[Row]:
    """Return the models whose names and family hold every word, in the catalogue's order.

    Case does not matter, nor do `-`, `_` and `.`: `llama3` is found in Llama-3.1-8B. A size such
    as `7b` is met by the model's size or by a whole word of a name: not by `27b`.
    """
    said = [word for words_ in words for word in words_.casefold().split()]
    return [row for row in rows() if all(_holds(row, word) for word in said)]


def holds(names: Sequence[str], word: str) -> bool:
    """Return whether one of the names holds the word, as `search` compares."""
    word = word.casefold()
    said = [name.casefold() for name in names]
    if size := _SIZE.fullmatch(word):
        whole = re.compile(rf"(?<![\w.]){re.escape(size[0])}(?!\w)")
        return any(whole.search(name) for name in said)
    bare = _MARKS.sub("", word)
    return any(word in name or (bare and bare in _MARKS.sub("", name)) for name in said)


def _holds(row: Row, word: str) -> bool:
    size = _SIZE.fullmatch(word)
    return bool(size and float(size[1]) == row.size) or holds(
        (*row.ids, *row.names, row.family), word
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """What a name that no row has shares its beginning with."""

    name: str
    """The one name that is meant, if that is clear; else ""."""

    many: int
    """How many models `search` finds for it."""

    starts: bool
    """Whether known names begin with it."""


def begun(said: str) -> Begun:
    """Return what a name means that is the beginning of known names, or that one is of it.

    `Qwen/Qwen3-8B-Instruct` means Qwen/Qwen3-8B; `qwen2.5-vl-7b` Qwen2.5-VL-7B-Instruct, with which
    all names that begin so begin; `qwen3` means no one model, but many.
    """
    word = said.strip().casefold()
    names = {
        name.casefold(): name
        for row in reversed(rows())
        for name in (row.ids if "/" in word else (*row.names, *map(bare, row.ids)))
    }
    many = len(search([word])) if word else 0
    start = _MARKS.sub("", word)
    longer = sorted((n for n in names if start and _MARKS.sub("", n).startswith(start)), key=len)
    if longer:
        least = _MARKS.sub("", longer[0])
        clear = all(_MARKS.sub("", name).startswith(least) for name in longer)
        return Begun(name=names[longer[0]] if clear else "", many=many, starts=True)
    shorter = [name for name in names if _begins(word, name)]
    return Begun(name=names[max(shorter, key=len)] if shorter else "", many=many, starts=False)


def _begins(longer: str, name: str) -> bool:
    """Return whether a name begins with the whole words of a shorter one."""
    return len(longer) > len(name) and longer.startswith(name) and longer[len(name)] in "-_."
