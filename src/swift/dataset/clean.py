"""What is wrong with a Sample that no format can see: each trouble is named, and counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from swift.chat.message import Media, Message, Sample
from swift.dataset.report import Report

_CONTROLS = bytes(i for i in (*range(32), 127) if chr(i) not in "\t\n\r\f\x1b")
"""Bytes that no text wants; escapes of terminals are part of some."""

_GARBLED = 0.01
"""Share of U+FFFD from which a text was decoded wrongly; fewer may be talked of."""


def cleaned(samples: Iterable[Sample], report: Report, *, folder: str = "") -> Iterator[Sample]:
    """Yield samples without those in a trouble that drops them; every trouble is counted.

    Args:
        samples: Of any data set.
        report: Is told, and knows what becomes of samples in trouble.
        folder: Where paths of media start from.
    """
    there = _exists(Path(folder))
    for sample in samples:
        dropped = False
        for name in _troubles(sample, there):
            report.note(name, sample.origin)
            dropped = dropped or report.policy(name) in ("drop", "fail")
        if not dropped:
            yield sample


def key_of(sample: Sample) -> int:
    """Return 64 bits that are the same for samples that say the same, wherever they come from."""
    said = [sample.text, *_flat(sample.chosen), "\x1d", *_flat(sample.rejected)]
    for turns in (*sample.positives, *sample.negatives):
        said += ["\x1d", *_flat(turns)]
    rest = (sample.label, sample.margin, sample.target, sample.solution)
    if rest != (None, None, None, ""):
        said.append(repr(rest))
    for part in (sample.tools, sample.media, sample.rejected_media, sample.things):
        if part:
            said.append(repr(part))
    told = "\x1f".join(said).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")


def _flat(turns: Iterable[Message]) -> Iterator[str]:
    for turn in turns:
        yield turn.role
        yield turn.content
        if turn.more or turn.loss is not None:
            yield json.dumps([turn.more, turn.loss], sort_keys=True, default=repr)


def _troubles(sample: Sample, there: Callable[[str], bool]) -> Iterator[str]:
    """Yield the names of what is wrong."""
    texts = [turn.content for turn in (*sample.chosen, *sample.rejected)]
    text = "\n".join(texts) if texts else sample.text
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _CONTROLS)) < len(data):
        yield "control-characters"
    if not text.isascii() and text.count("\ufffd") > _GARBLED * len(text):
        yield "garbled"
    if _disordered(sample.chosen) or _disordered(sample.rejected):
        yield "role-order"
    if any(not there(path) for media in _media(sample) for path in _paths(media)):
        yield "missing-media"


def _disordered(turns: tuple[Message, ...]) -> bool:
    """Return whether a speaker follows himself, the assistant begins, or a system comes late."""
    before = ""
    for number, turn in enumerate(turns):
        role = turn.role
        if role in ("system", "developer"):
            if number:
                return True
            continue
        if (role == before and role != "tool") or (role == "assistant" and not before):
            return True
        before = role
    return False


def _media(sample: Sample) -> Iterator[Media]:
    yield from sample.media
    yield from sample.rejected_media
    for found in sample.other_media:
        yield from found


def _paths(media: Media) -> Iterator[str]:
    """Yield the files of a medium that is in files."""
    for source in media.frames or (media.source,):
        if not source.startswith(("data:", "http://", "https://")) and "://" not in source[:12]:
            yield source


def _exists(folder: Path) -> Callable[[str], bool]:
    def there(source: str) -> bool:
        try:
            return (folder / source).expanduser().is_file()
        except (OSError, ValueError, RuntimeError):  # no name that a file may have
            return False

    return there
