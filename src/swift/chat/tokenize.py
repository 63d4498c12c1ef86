"""The model's own tokenizer: text to ids, and which ids the assistant says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import DataError, Problem

if TYPE_CHECKING:
    from swift.chat.template import Spanned


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer, read from tokenizer.json without transformers."""

    backend: Any
    eos_id: int
    pad_id: int

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Return the tokenizer of a model folder.

        Raises:
            DataError: There is no tokenizer.json, or no end-of-sequence token.
        """
        from tokenizers import Tokenizer as Backend

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise DataError(
                Problem(
                    where="model",
                    what=f"{folder} has no tokenizer.json",
                    fix="save it as a fast tokenizer: tokenizer.save_pretrained(folder)",
                )
            )
        backend = Backend.from_file(str(path))
        backend.no_padding(), backend.no_truncation()
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        eos = backend.token_to_id(_content(config.get("eos_token")))
        if eos is None:
            raise DataError(Problem(where=str(folder), what="the tokenizer has no eos_token"))
        pad = backend.token_to_id(_content(config.get("pad_token")))
        return cls(backend, eos, eos if pad is None else pad)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; nothing is added."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        made = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in made]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens shown."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=False)
        return text

    def encode_spanned(self, texts: Sequence[Spanned]) -> list[tuple[list[int], list[bool]]]:
        """Return ids and marks of each text: one tokenisation of the whole.

        A token is the assistant's when its first character is.
        """
        made = self.backend.encode_batch([t.text for t in texts], add_special_tokens=False)
        return [(e.ids, _marks(e.offsets, t.spans)) for e, t in zip(made, texts, strict=True)]


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token or ""


def _marks(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    marks = [False] * len(offsets)
    rest = iter(spans)
    span = next(rest, None)
    for i, (begin, _) in enumerate(offsets):
        while span is not None and begin >= span[1]:
            span = next(rest, None)
        if span is None:
            break
        marks[i] = begin >= span[0]
    return marks
