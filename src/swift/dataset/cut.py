"""Texts to tokens of no more than a length: what one process does with one chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swift.chat.tokenize import Marked, Tokenizer

Span = tuple[int, int]


class Texts(NamedTuple):
    """The sequences of some items, as text."""

    texts: list[str]
    spans: list[tuple[Span, ...]]
    """Begin and end of what is trained of each text, in characters."""

    origins: list[str]
    """Of each item."""

    ended: list[bool]
    """Which items are documents, after which the end of a text comes; [] for none."""

    keys: list[int]
    """Of each item: see `Encoded.keys`."""

    columns: Mapping[str, list[float]] = {}
    """Of each item: see `Encoded.columns`."""


class Way(NamedTuple):
    """How texts become tokens."""

    tokenizer: Tokenizer
    sides: int
    """Sequences of an item."""

    whole: bool
    """Whether every token is supervised."""

    max_length: int
    on_long: Literal["truncate", "drop", "split", "fail"]


class Cut(NamedTuple):
    """Tokens of some items, those left out that are not trained on."""

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    """Tokens of each sequence that is left."""

    kept: NDArray[np.bool_]
    """Which items are left."""

    long: NDArray[np.bool_]
    """Which items had a sequence of more than `max_length` tokens."""

    mute: NDArray[np.bool_]
    """Which items are left out because one of their sequences has no supervised token."""

    longest: NDArray[np.int64]
    """Tokens of each item's longest sequence, before it was cut."""

    lost: int
    """Tokens that were cut off."""

    counted: int
    """Supervised tokens that are predicted: the first of a sequence is not."""


def cut(chunk: Texts, way: Way) -> Cut:
    """Return the tokens of a chunk."""
    import numpy as np

    ids, marks, sizes = _tokens(chunk, way)
    whole = sizes
    begins = np.cumsum(sizes) - sizes
    place = np.arange(len(ids)) - np.repeat(begins, sizes)
    longest = sizes.reshape(-1, way.sides).max(axis=1) if len(sizes) else sizes
    long = longest > way.max_length
    left = np.full(len(longest), True)
    if way.on_long == "drop":
        left = ~long
    predicted = np.concatenate(([0], np.cumsum(marks & (place > 0) & (place < way.max_length))))
    counts = predicted[begins + sizes] - predicted[begins]
    mute = left & ~counts.astype(bool).reshape(-1, way.sides).all(axis=1)
    kept = left & ~mute
    sequences = np.repeat(kept, way.sides)
    if not kept.all() or long.any():
        tokens = (place < way.max_length) & np.repeat(sequences, sizes)
        ids, marks = ids[tokens], marks[tokens]
        sizes = np.minimum(sizes, way.max_length)[sequences]
    counted, lost = int(counts[sequences].sum()), int((whole[sequences] - sizes).sum())
    return Cut(ids, marks, sizes, kept, long, mute, longest, lost, counted)


def _tokens(chunk: Texts, way: Way) -> Marked:
    """Return the tokens of all sequences, documents with the end of a text after them."""
    import numpy as np

    from swift.chat.template import Spanned
    from swift.chat.tokenize import Marked

    spans: Sequence[tuple[Span, ...]] = chunk.spans
    if way.whole:
        spans = [()] * len(chunk.texts)
    made = way.tokenizer.encode_marked([*map(Spanned, chunk.texts, spans)])
    ids, marks, sizes = made
    if any(chunk.ended):
        ended = np.repeat(np.array(chunk.ended), way.sides)
        ends = np.cumsum(sizes)[ended]
        ids = np.insert(ids, ends, way.tokenizer.eos_id)
        marks = np.insert(marks, ends, True)
        sizes = sizes + ended
        # A document is supervised whole, whatever its tokenizer makes of its characters.
        marks = marks | np.repeat(ended, sizes)
    return Marked(ids, np.ones(len(ids), dtype=np.bool_) if way.whole else marks, sizes)
