"""Encoded rows kept on the disk under a digest of all that they depend on, for every later run.

An entry is a folder that is seen whole or not at all. Whoever comes first makes it, all others
wait for as long as the maker lives: ranks of one run, or runs beside each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from swift import __version__
from swift.core.errors import DataError, Problem
from swift.core.files import probe, whole_folder, write_text
from swift.dataset.encoded import Encoded, digests, opened
from swift.dataset.entries import CARD, NOTES, alone, bound, parts, removed

CHECKED_BYTES = 2 << 30
"""An entry of no more than this is read through before it is trusted; of a larger one the sizes of
its files are compared."""

_PLACES = ("dataset", "chat", "run/rows.py", "run/data.py")
"""Where in this package the code is that decides what rows become."""

_WAITS = "another process prepares this data: its tokens are waited for"

Said = list[dict[str, Any]]
"""What was said of the rows while they were encoded: a later run says it again."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An entry."""

    encoded: Encoded
    said: Said
    made: bool
    """Whether it was made now."""


def kept(
    home: Path,
    key: str,
    sides: int,
    make: Callable[[Path], Said],
    say: Callable[[str], object],
) -> Kept:
    """Return the entry of a key, made by `make` in the folder that it is given if there is none.

    Args:
        home: The folder of all entries.
        key: What `key_of` returns.
        sides: Sequences of an item.
        make: Fills a folder, and returns what it filled it with.
        say: Is told that another process is making the entry, before it is waited for, or that
            what is there is no entry, before it is made anew.

    Raises:
        WriteError: Nothing can be kept there; what was begun is removed again.
    """
    final = home / key
    if found := _found(final, sides):
        return found
    with alone(home, key, lambda: say(_WAITS)):
        if found := _found(final, sides):  # another process made it
            return found
        probe(home)
        if os.path.lexists(final):
            say(f"the tokens kept in {final} are not what was written: they are made anew")
        for left in (final, *parts(home, key)):  # broken, or by makers that were killed
            removed(left)
        made = _made(final, sides, make)
        bound(home, key)
    return made


def _made(final: Path, sides: int, make: Callable[[Path], Said]) -> Kept:
    with whole_folder(final) as aside:
        said = make(aside)
        fingerprint, whole = digests(aside)
        sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
        card: dict[str, Any] = {"sizes": sizes, "sides": sides, "said": said}
        card |= {"fingerprint": fingerprint, "whole": whole}
        text = json.dumps({**card, "card": _digest(card)}, ensure_ascii=False)
        write_text(aside / CARD, text)
        encoded = opened(aside, sides, fingerprint)  # a map follows the file, not its name
    return Kept(encoded=encoded, said=said, made=True)


def _found(final: Path, sides: int) -> Kept | None:
    """Return an entry; None where there is none, or it is not what was written."""
    try:
        card = json.loads((final / CARD).read_text(encoding="utf-8"))
        if card.pop("card") != _digest(card):
            return None
        sizes = {name: (final / name).stat().st_size for name in card["sizes"]}
        if card["sizes"] != sizes or card["sides"] != sides:
            return None
        if sum(sizes.values()) <= CHECKED_BYTES and digests(final)[1] != card["whole"]:
            return None
        encoded = opened(final, sides, card["fingerprint"])
        said: Said = card["said"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(final / CARD)  # used now
    return Kept(encoded=encoded, said=said, made=False)


def _digest(card: Mapping[str, Any]) -> str:
    """Return the digest of a card, the same of one that was written and read."""
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


# --- what rows depend on -----------------------------------------------------------------------


def key_of(said: Mapping[str, Any], files: Iterable[Path], home: Path) -> str:
    """Return the digest of options, of the contents of files and of the code.

    Args:
        said: Options: anything that JSON writes, or that prints as it is meant.
        files: Data, and what the tokenizer is made of; an absent one counts as absent.
        home: The folder of all entries, where digests of files are remembered.
    """
    contents = [_content(path, home / NOTES) for path in files]
    parts = {"said": said, "files": contents, "code": code()}
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stamp(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file is written."""
    return {str(path): _stat(path) for path in files}


def unchanged(before: Mapping[str, tuple[int, ...]]) -> None:
    """See to it that files are what they were.

    Raises:
        DataError: One was written meanwhile.
    """
    problems = [
        Problem(where=path, what="changed while it was read", fix="start again")
        for path, was in before.items()
        if _stat(Path(path)) != was
    ]
    if problems:
        raise DataError(problems)


@cache
def code() -> str:
    """Return the digest of the code that makes tokens of rows."""
    total = hashlib.sha256(__version__.encode())
    for name in ("tokenizers", "jinja2"):
        total.update(metadata.version(name).encode())
    root = Path(__file__).parents[1]
    for place in _PLACES:
        for path in sorted([root / place, *(root / place).rglob("*")]):
            if path.is_file() and path.suffix != ".pyc":
                total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def _content(path: Path, memory: Path) -> str:
    """Return the digest of a file's bytes, remembered by its size, time and number."""
    before = _stat(path)
    if not before:
        return ""
    note = memory / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if tuple(known["stat"]) == before:
            return str(known["digest"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # What was written a moment ago may be written again within one tick of the clock.
    if time.time_ns() - before[1] > 2_000_000_000 and _stat(path) == before:
        with contextlib.suppress(OSError):
            memory.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps({"stat": before, "digest": digest}), encoding="utf-8")
    return digest
