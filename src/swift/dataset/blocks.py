"""Content in parts: OpenAI's and Anthropic's blocks, as a text, its media and its calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from swift.chat.message import Media, Message
from swift.dataset.media import media_of
from swift.dataset.rejects import Reject, encodable, encodable_tree


@dataclass
class Parts:
    """What the blocks of one turn come to, while they are read."""

    text: list[str] = field(default_factory=list)
    """With `<image>`, `<video>` and `<audio>` where media stand."""

    media: list[Media] = field(default_factory=list)
    """In the order of their blocks; of one without a source the source is empty."""

    calls: list[Mapping[str, Any]] = field(default_factory=list)
    """Calls of tools, in OpenAI's shape."""

    thoughts: list[str] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)
    """Answers of tools: Anthropic's stand in a user's turn."""

    result_media: list[Media] = field(default_factory=list)


def parts_of(blocks: Sequence[Any]) -> Parts:
    """Return what the blocks of a turn say."""
    parts = Parts()
    for block in blocks:
        if isinstance(block, str):
            _say(block, parts)
            continue
        if not isinstance(block, Mapping):
            raise Reject("wrong-shape")
        kind = block.get("type", "text" if "text" in block else None)
        read = _BLOCKS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise Reject("unknown-block")
        read(block, parts)
    return parts


def call_of(name: Any, arguments: Any, id: Any = None) -> dict[str, Any]:
    """Return a call in OpenAI's shape; text of arguments stays the text it is."""
    if not isinstance(name, str) or not name:
        raise Reject("broken-call")
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    encodable_tree(call)
    return {"id": id, **call} if isinstance(id, str) and id else call


def _say(said: Any, parts: Parts) -> None:
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    encodable(said)
    parts.text.append(said)


def _text(block: Mapping[str, Any], parts: Parts) -> None:
    _say(block.get("text"), parts)


def _media(kind: Literal["image", "video", "audio"]) -> Callable[[Mapping[str, Any], Parts], None]:
    def read(block: Mapping[str, Any], parts: Parts) -> None:
        parts.text.append(f"<{kind}>")
        said = {key: value for key, value in block.items() if key not in ("type", "text")}
        named = any(value is not None for value in said.values())
        place = Media(kind=kind, source="")  # of one that a column names
        parts.media.append(media_of(kind, said) if named else place)

    return read


def _thinking(block: Mapping[str, Any], parts: Parts) -> None:
    said = block.get("thinking")
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    encodable(said)
    parts.thoughts.append(said)


def _tool_use(block: Mapping[str, Any], parts: Parts) -> None:
    parts.calls.append(call_of(block.get("name"), block.get("input") or {}, block.get("id")))


def _tool_result(block: Mapping[str, Any], parts: Parts) -> None:
    said = block.get("content")
    inner = parts_of(said) if isinstance(said, list) else Parts()
    if inner.calls or inner.results:
        raise Reject("wrong-shape")
    if said is None or isinstance(said, str):
        _say(said or "", inner)
    elif not isinstance(said, list):
        _say(json.dumps(said, ensure_ascii=False), inner)
    id = block.get("tool_use_id")
    more = {"tool_call_id": id} if isinstance(id, str) else {}
    parts.result_media += inner.media
    parts.results.append(Message(role="tool", content="".join(inner.text), more=more))


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any], Parts], None]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "image": _media("image"),
    "image_url": _media("image"),
    "input_image": _media("image"),
    "video": _media("video"),
    "video_url": _media("video"),
    "audio": _media("audio"),
    "audio_url": _media("audio"),
    "input_audio": _media("audio"),
    "thinking": _thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}
