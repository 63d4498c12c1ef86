"""Which models a few words mean: `qwen3`, `qwen2.5 7b`, `0.5b`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from swift.model.names import Row, rows

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
