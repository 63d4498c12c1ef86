"""Tokens by themselves: the bytes behind an id, which log-probabilities are told with."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from swift.chat.tokenize import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
"""How SentencePiece writes a space."""


class Tokens:
    """The tokens of a vocabulary; each is looked up once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._backend: Any = tokenizer.backend
        self._raw: dict[int, bytes] = {}

    def raw(self, id: int) -> bytes:
        """Return the bytes of a token: of a letter's part, that part; b"" of an unknown id."""
        if id not in self._raw:
            self._raw[id] = self._read(id)
        return self._raw[id]

    def label(self, id: int) -> str:
        """Return a token's text, or its bytes in words where it is no whole text."""
        raw = self.raw(id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def width(self, id: int) -> int:
        """Return how many characters begin in a token."""
        return sum(byte & 0xC0 != 0x80 for byte in self.raw(id))

    def _read(self, id: int) -> bytes:
        token: str | None = self._backend.id_to_token(id)
        if token is None:
            return b""
        if id in self._added:
            return token.encode()
        if self._byte_level and all(c in _BYTES for c in token):
            return bytes(_BYTES[c] for c in token)
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._backend.get_added_tokens_decoder())

    @cached_property
    def _byte_level(self) -> bool:
        decoder = self._backend.decoder
        return decoder is not None and b"ByteLevel" in decoder.__getstate__()


def _alphabet() -> dict[str, int]:
    """Return character -> byte of byte-level vocabularies: visible ones stand for themselves."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    moved = {chr(256 + i): byte for i, byte in enumerate(others)}
    return {chr(byte): byte for byte in visible} | moved


_BYTES = _alphabet()
