"""Pictures, films and sounds of a row: what its columns name, and where its messages place them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from swift.chat.message import MEDIA, Media, Message, Sample
from swift.dataset.rejects import Reject, Row, encodable, listed

_TAG = re.compile("<(image|video|audio)>")
_KEYS = (
    *("bytes", "url", "path", "data", "file_name", "image", "video", "audio", "input_audio"),
    *("image_url", "video_url", "audio_url", "source"),
)
"""Where a map that stands for one of them says which it is; bytes first, they are the thing."""

_BEGINNINGS = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def media_of(kind: str, said: Any) -> Media:
    """Return the one that `said` means: a path, a URL, bytes, a map of one of them, or frames."""
    if isinstance(said, str):
        if not said.strip():
            raise Reject("empty-media")
        encodable(said)
        return Media(kind=kind, source=said)  # type: ignore[arg-type]  # one of MEDIA
    if isinstance(said, bytes | bytearray):
        return Media(kind=kind, source=_uri(kind, bytes(said)))  # type: ignore[arg-type]
    if isinstance(said, Mapping):
        return _of_map(kind, said)
    if isinstance(said, list | tuple) and said and kind == "video":
        frames = tuple(media_of("image", frame).source for frame in said)
        return Media(kind="video", source=frames[0], frames=frames)
    raise Reject("broken-media")


def _of_map(kind: str, said: Row) -> Media:
    meant = next((said[key] for key in _KEYS if said.get(key)), None)
    if meant is None:
        raise Reject("empty-media")
    form = said.get("media_type") or said.get("format")
    if isinstance(form, str) and isinstance(said.get("data"), str) and meant == said["data"]:
        form = form if "/" in form else f"{kind}/{form}"
        meant = f"data:{form};base64,{meant}"  # of base64 alone nothing says what it is
    return media_of(kind, meant)


def _uri(kind: str, found: bytes) -> str:
    """Return bytes as a `data:` URI; what they are is told by how they begin."""
    if not found:
        raise Reject("empty-media")
    form = next((f for begin, f in _BEGINNINGS.items() if found.startswith(begin)), f"{kind}/*")
    form = _RIFF.get(found[8:12], form) if found[:4] == b"RIFF" else form
    form = "video/mp4" if found[4:8] == b"ftyp" else form
    return f"data:{form};base64,{base64.b64encode(found).decode()}"


def placed(sample: Sample, row: Row) -> Sample:
    """Return the sample with the media of the row's columns in their places.

    A tag takes the next one of its kind. Where a conversation has no tag of a kind at all, its tags
    are put before its first question; any other difference of their numbers is a Reject.
    """
    own, theirs = _columns(row, ""), _columns(row, "rejected_")
    if own or sample.media:
        chosen, media = _filled(sample.chosen, own, sample.media)
        sample = replace(sample, chosen=chosen, media=media)
    if theirs or (sample.rejected and (own or sample.rejected_media)):
        turns = sample.rejected or sample.chosen  # the same words about other pictures
        rejected, media = _filled(turns, {**own, **theirs}, sample.rejected_media)
        sample = replace(sample, rejected=rejected, rejected_media=media)
    return _beside(sample, row) if sample.positives or sample.negatives else sample


def tag_count(turns: Iterable[Message], tag: str) -> int:
    """Return how often a tag stands in the messages."""
    return sum(turn.content.count(tag) for turn in turns)


def _columns(row: Row, prefix: str) -> dict[str, list[Media]]:
    """Return the media of each kind that the row has a column of."""
    found: dict[str, list[Media]] = {}
    for kind in MEDIA:
        many, one = f"{prefix}{kind}s", f"{prefix}{kind}"
        if many not in row and one not in row:
            continue
        said = row.get(many)
        said = row.get(one) if said is None else said
        found[kind] = [media_of(kind, one) for one in _several(kind, said)]
    return found


def _several(kind: str, said: Any) -> Sequence[Any]:
    if said is None or said == "":
        return ()
    if isinstance(said, str) and said.lstrip().startswith("["):
        said = listed(said)  # a table has lists as text
    return said if isinstance(said, list | tuple) else (said,)


def _filled(
    turns: tuple[Message, ...], own: Mapping[str, list[Media]], inline: tuple[Media, ...]
) -> tuple[tuple[Message, ...], tuple[Media, ...]]:
    if any(media.source for media in inline):
        if any(own.values()):
            raise Reject("media-twice")
        _count_inline(turns, inline)
        return turns, inline
    own = {**{media.kind: [] for media in inline}, **own}  # blocks that name no source are places
    for kind, media in own.items():
        tag = f"<{kind}>"
        count = tag_count(turns, tag)
        if media and not count:
            turns = _before_question(turns, tag * len(media))
        elif count != len(media):
            raise Reject("media-count")
    waiting = {kind: iter(media) for kind, media in own.items()}
    tags = (found[1] for turn in turns for found in _TAG.finditer(turn.content))
    return turns, tuple(next(waiting[kind]) for kind in tags if kind in waiting)


def _count_inline(turns: Iterable[Message], inline: Sequence[Media]) -> None:
    """Refuse a tag in a text beside media that brought their own, and a block that brought none."""
    kinds = [media.kind for media in inline if media.source]
    if len(kinds) < len(inline) or any(
        tag_count(turns, f"<{kind}>") != kinds.count(kind) for kind in set(kinds)
    ):
        raise Reject("media-count")


def _before_question(turns: tuple[Message, ...], tags: str) -> tuple[Message, ...]:
    if not turns:
        raise Reject("media-count")
    at = next((i for i, turn in enumerate(turns) if turn.role == "user"), 0)
    first = replace(turns[at], content=tags + turns[at].content)
    return (*turns[:at], first, *turns[at + 1 :])


def _beside(sample: Sample, row: Row) -> Sample:
    """Return the sample with the media of its positives and negatives."""
    sides: list[tuple[tuple[Message, ...], ...]] = []
    media: list[tuple[Media, ...]] = []
    inline = iter(sample.other_media)
    for prefix, texts in (("positive_", sample.positives), ("negative_", sample.negatives)):
        own = _per_text(row, prefix, len(texts))
        made = [
            _filled(turns, columns, next(inline, ()))
            for turns, columns in zip(texts, own, strict=True)
        ]
        sides.append(tuple(turns for turns, _ in made))
        media += [found for _, found in made]
    other = tuple(media) if any(media) else ()
    return replace(sample, positives=sides[0], negatives=sides[1], other_media=other)


def _per_text(row: Row, prefix: str, texts: int) -> list[dict[str, list[Media]]]:
    """Return the media of each text: its columns are lists of lists, one for each."""
    found: list[dict[str, list[Media]]] = [{} for _ in range(texts)]
    for kind in MEDIA:
        name = f"{prefix}{kind}s"
        if name not in row:
            continue
        said = listed(row[name])
        if said is None:
            continue
        if not isinstance(said, list | tuple) or len(said) != texts:
            raise Reject("media-count")
        for own, one in zip(found, said, strict=True):
            own[kind] = [media_of(kind, media) for media in _several(kind, one)]
    return found
