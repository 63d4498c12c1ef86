"""The model's own tokenizer: text to ids, and which ids the assistant says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swift.chat._special import read_json, special_tokens
from swift.chat._widths import Widths, flat, widths_of
from swift.core.errors import DataError, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swift.chat.template import Spanned


class Marked(NamedTuple):
    """Tokens of several texts, one after the other."""

    ids: NDArray[np.int32]
    marks: NDArray[np.bool_]
    """Which of them the assistant says."""

    sizes: NDArray[np.int64]
    """Tokens of each text."""


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer, read from tokenizer.json without transformers."""

    backend: Any
    """The `tokenizers.Tokenizer`, without padding, truncation and post-processor."""

    eos_id: int
    """The end of a text."""

    pad_id: int
    """What fills short rows; `eos_id` where the model has no token for it."""

    bos_id: int | None = None
    """The begin of a text, where the model has one."""

    stop_ids: tuple[int, ...] = ()
    """What ends an answer: `eos_id`, then the others that generation_config.json names."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Return the tokenizer of a model folder.

        Raises:
            DataError: There is no tokenizer.json, it cannot be read, or nothing names a token for
                the end of a text.
        """
        backend = _backend(folder)
        named = {k: backend.token_to_id(v) for k, v in special_tokens(folder).items()}
        stops = _stops(folder)
        eos = named.get("eos_token")
        if eos is None and stops:
            eos = stops[0]
        if eos is None:
            raise DataError(
                Problem(
                    where=str(folder),
                    what="no token ends a text: no `eos_token` that the vocabulary holds",
                    fix="name it in tokenizer_config.json: `eos_token`",
                )
            )
        pad = named.get("pad_token")
        return cls(
            backend,
            eos,
            eos if pad is None else pad,
            named.get("bos_token"),
            (eos, *(s for s in stops if s != eos)),
        )

    @property
    def size(self) -> int:
        """Number of tokens, added ones included; ids are below it where they have no gaps."""
        count: int = self.backend.get_vocab_size(with_added_tokens=True)
        return count

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; nothing is added."""
        return self.encode_batch([text])[0]  # `encode` would keep every other thread waiting

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; nothing is added."""
        made = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in made]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens shown."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=False)
        return text

    def encode_spanned(self, texts: Sequence[Spanned]) -> list[tuple[list[int], list[bool]]]:
        """Return ids and marks of each text: one tokenisation of the whole, as at inference.

        A token is the assistant's when its first character is: a token that begins in the header
        and reaches into the answer is not trained, one that begins in the answer is.
        """
        made = self.backend.encode_batch([t.text for t in texts], add_special_tokens=False)
        return [(e.ids, _marks(e, t)) for e, t in zip(made, texts, strict=True)]

    def encode_marked(self, texts: Sequence[Spanned]) -> Marked:
        """Return what `encode_spanned` does, in flat arrays, and in less time where it can.

        Places of tokens are sums of their widths in bytes. A text whose widths do not add up (its
        tokenizer writes it anew, or leaves blanks out) is tokenised with places.
        """
        widths = self._widths
        if widths is None:
            return _listed(self.encode_spanned(texts))
        made = self.backend.encode_batch_fast([t.text for t in texts], add_special_tokens=False)
        ids, sizes = flat([e.ids for e in made])
        marks, added = _marks_by_width(widths, ids, sizes, texts)
        if not added.all():
            return self._mended(texts, Marked(ids, marks, sizes), added)
        return Marked(ids, marks, sizes)

    @cached_property
    def _widths(self) -> Widths | None:
        return widths_of(self.backend)

    def _mended(self, texts: Sequence[Spanned], made: Marked, good: NDArray[np.bool_]) -> Marked:
        """Replace the texts that are not good by what is found with places."""
        import numpy as np

        bad = np.flatnonzero(~good).tolist()
        again = dict(zip(bad, self.encode_spanned([texts[i] for i in bad]), strict=True))
        ends = np.cumsum(made.sizes)
        pairs = [
            again.get(i) or (made.ids[end - size : end].tolist(), made.marks[end - size : end])
            for i, (size, end) in enumerate(zip(made.sizes, ends, strict=True))
        ]
        return _listed([(ids, list(marks)) for ids, marks in pairs])


def _listed(pairs: Sequence[tuple[list[int], list[bool]]]) -> Marked:
    import numpy as np

    ids, sizes = flat([ids for ids, _ in pairs])
    marks = [mark for _, said in pairs for mark in said]
    return Marked(ids, np.array(marks, dtype=np.bool_), sizes)


def _marks_by_width(
    widths: Widths,
    ids: NDArray[np.int32],
    sizes: NDArray[np.int64],
    texts: Sequence[Spanned],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the marks of all tokens, and of which texts the widths add up."""
    import numpy as np

    ends = np.cumsum(widths.table[ids])  # bytes up to the end of each token
    stops = np.concatenate(([0], ends))[np.concatenate(([0], np.cumsum(sizes)))]
    wanted = np.fromiter((widths.size(t.text) for t in texts), np.int64, len(texts))
    places: list[int] = []
    for (base, stop), text in zip(pairwise(stops.tolist()), texts, strict=True):
        said, own = text.text, [place for span in text.spans for place in span]
        if not said.isascii():
            own = [len(said[:place].encode()) for place in own]
        # What a tokenizer leaves out must not mark the beginning of the next text.
        places += [min(base + place, stop) for place in own]
    # The first token that begins there or later follows all those that begin before.
    tokens = np.searchsorted(ends - widths.table[ids], places, side="left")
    steps = np.zeros(len(ids) + 1, dtype=np.int32)
    np.add.at(steps, tokens[::2], 1)
    np.add.at(steps, tokens[1::2], -1)
    return np.cumsum(steps[:-1]) > 0, np.diff(stops) == wanted


def _backend(folder: Path) -> Any:
    from tokenizers import Tokenizer as Backend

    path = folder / "tokenizer.json"
    fix = "save it as a fast tokenizer: tokenizer.save_pretrained(folder)"
    if not path.is_file():
        raise DataError(Problem(where="model", what=f"{folder} has no tokenizer.json", fix=fix))
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise DataError(
            Problem(where=str(path), what=f"the tokenizer cannot be read: {error}", fix=fix)
        ) from error
    backend.no_padding()
    backend.no_truncation()
    # It adds what `add_special_tokens` asks for, which is never asked for here, and in some models
    # moves the offsets past leading blanks: a blank of the header would count as the answer's.
    backend.post_processor = None
    return backend


def _stops(folder: Path) -> list[int]:
    said = read_json(folder / "generation_config.json").get("eos_token_id")
    return [said] if isinstance(said, int) else list(said or ())


def _marks(encoding: Any, spanned: Spanned) -> list[bool]:
    """Mark the tokens that begin in a span.

    Asks only for the ends of spans: a list of all offsets costs as much as the tokenisation.
    """
    marks = [False] * len(encoding)
    size = len(spanned.text)
    for begin, end in spanned.spans:
        first, last = _from(encoding, begin, size), _from(encoding, end, size)
        marks[first:last] = [True] * (last - first)
    return marks


def _from(encoding: Any, begin: int, size: int) -> int:
    """Return the number of the first token that begins at character `begin` or after it."""
    token = None
    for character in range(begin, size):  # a tokenizer may drop characters: blanks, say
        token = encoding.char_to_token(character)
        if token is not None:
            break
    if token is None:
        return len(encoding)
    number: int = token
    while number < len(encoding) and encoding.token_to_chars(number)[0] < begin:
        number += 1
    return number
