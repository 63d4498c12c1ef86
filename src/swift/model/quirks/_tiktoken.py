"""A tiktoken rank file as a fast byte-level tokenizer with the same ids."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from swift.core.errors import PlanError, Problem

Ranks = Mapping[bytes, int]
"""The rank of each token's bytes: which pair is merged first, and the token's id."""


WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pieces that are merged apart from each other; `digits` of a number are one of them."""


def read_ranks(path: Path) -> dict[bytes, int]:
    """Return the ranks of a file with a token in base64 and its rank on each line.

    Raises:
        PlanError: There is no such file, a line is broken, or a single byte has no rank.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        problem = Problem(where="model", what=f"there is no {path}", fix="fetch it again")
        raise PlanError(problem) from None
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split() or (b"", b"-1")
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError:
            where, what = f"{path}:{number}", "no token in base64 with its rank"
            raise PlanError(Problem(where=where, what=what, fix="fetch it again")) from None
    ranks.pop(b"", None)  # an empty line
    if bare := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        what = f"{len(bare)} of the 256 bytes have no rank, the first is {bare[0]}"
        raise PlanError(Problem(where=str(path), what=what, fix="fetch it again"))
    return ranks


def fast_tokenizer(
    ranks: Ranks,
    special: Mapping[str, int],
    words: str,
    *,
    normalizer: str = "",
    begin: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what tokenizer.json holds.

    Args:
        ranks: As `read_ranks` gives them.
        special: Tokens that are never split, with their ids.
        words: The regular expression of the pieces that are merged apart from each other.
        normalizer: What is done to a text first: NFC; "" for nothing.
        begin: Tokens that transformers puts before a text unless it is told not to.
    """
    shown = {token: _shown(token) for token in ranks}
    merges = [[shown[a], shown[b]] for a, b in merges_of(ranks)]
    split = {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(text, id) for text, id in special.items()],
        "normalizer": {"type": normalizer} if normalizer else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, {**bytewise, "use_regex": False}],
        },
        "post_processor": beginning(begin, special),
        "decoder": {**bytewise, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            # A piece that is a token needs no merges: tiktoken looks it up first, too.
            "ignore_merges": True,
            "vocab": {shown[token]: rank for token, rank in ranks.items()},
            "merges": merges,
        },
    }


def merges_of(ranks: Ranks) -> list[tuple[bytes, bytes]]:
    """Return the pairs that make each token, in the order of the tokens' ranks.

    One pair is enough. Wherever a text's merging makes a token, no merge before crossed its ends,
    so those inside ran as they do on the token's bytes alone: the last pair there is the pair
    everywhere. A token that its own bytes do not end in is made by no merge at all.
    """
    pairs = ((token, _last_pair(token, ranks)) for token in sorted(ranks, key=ranks.__getitem__))
    return [pair for token, pair in pairs if pair is not None and len(token) > 1]


def _last_pair(token: bytes, ranks: Ranks) -> tuple[bytes, bytes] | None:
    parts = [token[i : i + 1] for i in range(len(token))]
    rank_of = [ranks.get(a + b, _NONE) for a, b in pairwise(parts)]
    while len(parts) > 2:
        lowest = min(rank_of)
        if lowest == _NONE:
            return None
        at = rank_of.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del rank_of[at]  # only the pairs beside it are new
        if at:
            rank_of[at - 1] = ranks.get(parts[at - 1] + parts[at], _NONE)
        if at < len(rank_of):
            rank_of[at] = ranks.get(parts[at] + parts[at + 1], _NONE)
    return (parts[0], parts[1]) if len(parts) == 2 else None


_NONE = 1 << 62
"""The rank of a pair that is no token."""


def beginning(begin: Sequence[str], special: Mapping[str, int]) -> dict[str, Any] | None:
    """Return what puts the special tokens `begin` before a text; None for none."""
    if not begin:
        return None
    head = [{"SpecialToken": {"id": text, "type_id": 0}} for text in begin]
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [*head, first],
        "pair": [*head, first, second],
        "special_tokens": {
            text: {"id": text, "ids": [special[text]], "tokens": [text]} for text in begin
        },
    }


def _added(text: str, id: int) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": text, **plain, "special": True}


def _shown(token: bytes) -> str:
    return "".join(map(_letters().__getitem__, token))


@cache
def _letters() -> Sequence[str]:
    """Return the visible letter that stands for each byte in byte-level vocabularies.

    A byte that Latin-1 shows stands for itself, the others for the letters from U+0100 on.
    """
    seen = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(0x100 + hidden.index(byte)) if byte in hidden else chr(byte) for byte in range(256)]
