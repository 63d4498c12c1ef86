"""A sentencepiece model as a fast tokenizer with the same ids; sentencepiece is not needed for it.

The file is a protocol buffer with few fields that matter, see
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swift.core.errors import PlanError, Problem
from swift.model.quirks._tiktoken import beginning

NORMAL, UNKNOWN, CONTROL, DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of pieces. Control ones are never read from a text; defined ones are never split."""

_UNIGRAM, _BPE = 1, 2
_SPACE = "▁"


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What a sentencepiece file says."""

    texts: Sequence[str]
    """The pieces, by id."""

    scores: Sequence[float]
    kinds: Sequence[int]

    model: int
    """1: unigram, 2: BPE; others are words and characters."""

    bytewise: bool
    """Whether characters without a piece become their bytes."""

    prefix: bool
    """Whether a text begins with a blank of ours."""

    squeezed: bool
    """Whether blanks at the ends and double ones vanish."""

    charsmap: bytes
    """Rules that exchange characters first; empty for none."""


def read_pieces(path: Path) -> Pieces:
    """Return the content of a sentencepiece file.

    Raises:
        PlanError: It is missing, or no such file.
    """
    try:
        fields = list(_fields(path.read_bytes()))
        rows = [dict(_fields(value)) for number, value in fields if number == 1]
        trainer = dict(_fields(_last(fields, 2)))
        normal = dict(_fields(_last(fields, 3)))
        texts = [row[1].decode("utf-8") for row in rows]
        scores = [struct.unpack("<f", row.get(2, bytes(4)))[0] for row in rows]
        if not texts:
            raise ValueError("it has no pieces")
    except FileNotFoundError:
        problem = Problem(where="model", what=f"there is no {path}", fix="fetch it again")
        raise PlanError(problem) from None
    except (ValueError, IndexError, KeyError, struct.error, AttributeError, TypeError) as error:
        what = f"no sentencepiece model ({error})"
        raise PlanError(Problem(where=str(path), what=what, fix="fetch it again")) from error
    return Pieces(
        texts=texts,
        scores=scores,
        kinds=[row.get(3, NORMAL) for row in rows],
        model=trainer.get(3, _UNIGRAM),
        bytewise=bool(trainer.get(35, 0)),
        prefix=bool(normal.get(3, 1)),
        squeezed=bool(normal.get(4, 1)),
        charsmap=normal.get(2, b""),
    )


def fast_tokenizer(
    pieces: Pieces, path: Path, special: Mapping[str, int], *, begin: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what tokenizer.json holds.

    A text is first cut at the special tokens, as transformers' slow tokenizers do; each part then
    is read as sentencepiece reads a text. One case differs: a part that is nothing but one defined
    piece gets no blank in front.

    Args:
        pieces: As `read_pieces` gives them.
        path: Their file, for the errors.
        special: Tokens that are cut out of a text before all else, with their ids.
        begin: Tokens that transformers puts before a text unless it is told not to.

    Raises:
        PlanError: A fast tokenizer would give other ids for some texts.
    """
    if strange := _strange(pieces, special):
        fix = "give a folder with a tokenizer.json of the same model"
        raise PlanError([Problem(where=str(path), what=what, fix=fix) for what in strange])
    pieces = _with(pieces, special, path)
    defined = [i for i, kind in enumerate(pieces.kinds) if kind == DEFINED]
    added = [_added(text, id, special=True) for text, id in special.items()]
    added += [_added(pieces.texts[i], i, special=False) for i in defined]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: int(token["id"])),
        "normalizer": _normalizer(pieces, [pieces.texts[i] for i in defined]),
        "pre_tokenizer": None,
        "post_processor": beginning(begin, special),
        "decoder": _decoder(pieces),
        "model": _unigram(pieces) if pieces.model == _UNIGRAM else _bpe(pieces),
    }


def _with(pieces: Pieces, special: Mapping[str, int], path: Path) -> Pieces:
    """Return the pieces with the special tokens where they are said to be.

    One takes the name of what stood there; those behind the end must follow each other, since a
    fast tokenizer counts on without gaps.

    Raises:
        PlanError: There is a gap, or two places have one name.
    """
    texts, scores, kinds = list(pieces.texts), list(pieces.scores), list(pieces.kinds)
    what = ""
    for text, id in sorted(special.items(), key=lambda pair: pair[1]):
        if id > len(texts):
            what = what or f"token {id} `{text}` comes after {len(texts)} others"
        texts[id : id + 1], scores[id : id + 1] = [text], [0.0]
        kinds[id : id + 1] = [UNKNOWN if kinds[id : id + 1] == [UNKNOWN] else CONTROL]
    if not what and len(set(texts)) < len(texts):
        twice = Counter(texts).most_common(1)[0][0]
        what = f"two tokens are called `{twice}`"
    if what:
        raise PlanError(Problem(where=str(path), what=what, fix="fetch the folder again"))
    return replace(pieces, texts=texts, scores=scores, kinds=kinds)


def _strange(pieces: Pieces, special: Mapping[str, int]) -> list[str]:
    """Return what of a model the fast tokenizers do not do exactly as it does."""
    kinds = zip(pieces.texts, pieces.kinds, strict=True)
    unseen = [t for t, kind in kinds if kind == CONTROL and t not in special]
    return [
        text
        for wrong, text in (
            (pieces.model not in (_UNIGRAM, _BPE), "its pieces are words or characters"),
            (bool(pieces.charsmap), "it exchanges characters by a table of its own first"),
            (UNKNOWN not in pieces.kinds, "it has no piece for the unknown"),
            (UNUSED in pieces.kinds, "it has pieces that are not to be used"),
            (
                pieces.model == _UNIGRAM and bool(unseen),
                f"it never reads `{''.join(unseen[:1])}` from a text, which a fast one would",
            ),
        )
        if wrong
    ]


def _bpe(pieces: Pieces) -> dict[str, Any]:
    vocabulary = _vocabulary(pieces)
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": pieces.texts[pieces.kinds.index(UNKNOWN)],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": pieces.bytewise,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": _merges(pieces),
    }


def _merges(pieces: Pieces) -> list[list[str]]:
    """Return the pairs of pieces that make a piece, the piece of the highest score first.

    sentencepiece merges the pair whose whole scores best; where equals meet, the leftmost.
    """
    score = {
        text: score
        for text, score, kind in zip(pieces.texts, pieces.scores, pieces.kinds, strict=True)
        if kind == NORMAL
    }
    found = [
        (-whole, number, [text[:cut], text[cut:]])
        for number, (text, whole) in enumerate(score.items())
        for cut in range(1, len(text))
        if text[:cut] in score and text[cut:] in score
    ]
    found.sort(key=lambda row: row[:2])
    return [pair for _, _, pair in found]


def _unigram(pieces: Pieces) -> dict[str, Any]:
    return {
        "type": "Unigram",
        "unk_id": pieces.kinds.index(UNKNOWN),
        "vocab": [[text, score] for text, score in zip(pieces.texts, pieces.scores, strict=True)],
        "byte_fallback": pieces.bytewise,
    }


def _vocabulary(pieces: Pieces) -> dict[str, int]:
    return {text: id for id, text in enumerate(pieces.texts)}


def _normalizer(pieces: Pieces, defined: Sequence[str]) -> dict[str, Any] | None:
    steps: list[dict[str, Any]] = []
    if pieces.squeezed:
        steps += [_replace(r"\A +|[ ▁]+\z", ""), _replace(" {2,}", " ")]
    if pieces.prefix:
        # The library normalises defined pieces, too, before it looks for them in a text.
        names = "|".join(map(re.escape, defined))
        alone = rf"(?!(?:{names})\z)" if names else ""
        steps.append(_replace(rf"\A{alone}(?=[\s\S])", _SPACE))
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE})
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _decoder(pieces: Pieces) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    ]
    steps += [{"type": "ByteFallback"}] if pieces.bytewise else []
    steps.append({"type": "Fuse"})
    if pieces.prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _added(text: str, id: int, *, special: bool) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": id, "content": text, **plain, "normalized": not special, "special": special}


def _last(fields: Sequence[tuple[int, Any]], number: int) -> bytes:
    found = [value for n, value in fields if n == number]
    return bytes(found[-1]) if found else b""


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a message: int, or bytes.

    Raises:
        ValueError: It is no message.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind} at byte {at}")
        if at + size > len(data):
            raise ValueError("it is cut short")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and where the next thing begins."""
    number = shift = 0
    while shift < 64:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
    raise ValueError(f"a number of more than ten bytes before byte {at}")
