"""How many bytes of the text each token stands for, where the tokenizer keeps them all.

Then places of tokens are sums of widths: a tokenisation without offsets takes two thirds of the
time of one with them.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any
from unicodedata import is_normalized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SPLITTING = frozenset(("ByteLevel", "Split", "Digits", "Punctuation"))
"""Pre-tokenizers that write no letter of a text anew (what they leave out is missed)."""


class Widths:
    """Bytes by token, of one byte-level tokenizer."""

    def __init__(self, table: NDArray[np.int64], composing: bool) -> None:
        self.table = table
        self._composing = composing

    def size(self, text: str) -> int:
        """Return the bytes of a text; -1 where it is no text that comes out as it went in."""
        if text.isascii():
            return len(text)
        if self._composing and not is_normalized("NFC", text):
            return -1
        return len(text.encode())


def widths_of(backend: Any) -> Widths | None:
    """Return the widths of a tokenizer's tokens; None where they cannot be told beforehand."""
    import numpy as np
    from tokenizers import models, pre_tokenizers

    if not isinstance(backend.model, models.BPE) or backend.model.dropout:
        return None
    vocabulary = backend.get_vocab(with_added_tokens=True)
    normalizers = _types(backend.normalizer)
    whole = all(letter in vocabulary for letter in pre_tokenizers.ByteLevel.alphabet())
    splitting = _types(backend.pre_tokenizer)
    if not whole or "ByteLevel" not in splitting or not splitting <= _SPLITTING:
        return None
    if not normalizers <= {"NFC"}:
        return None
    table = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, number in vocabulary.items():
        table[number] = len(token)
    for number, added in backend.get_added_tokens_decoder().items():
        table[number] = len(added.content.encode())
    return Widths(table, bool(normalizers))


def _types(component: Any) -> frozenset[str]:
    """Return the types of a normalizer or pre-tokenizer, those within a sequence one by one."""
    if component is None:
        return frozenset()
    said = json.loads(component.__getstate__())
    inner = next((said[k] for k in ("pretokenizers", "normalizers") if k in said), [said])
    return frozenset(one["type"] for one in inner)


def flat(lists: list[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return lists one after the other, and how long each is."""
    import numpy as np

    sizes = np.fromiter(map(len, lists), np.int64, len(lists))
    return np.fromiter(chain.from_iterable(lists), np.int32, int(sizes.sum())), sizes
