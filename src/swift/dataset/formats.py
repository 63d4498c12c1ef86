"""Rows to Samples: which format a row is in is seen from its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from swift.chat.message import Message, Sample
from swift.dataset.sources import Raw


def to_samples(
    raws: Iterable[Raw],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    pairs: bool = False,
    on_reject: Callable[[str, str], None],
) -> Iterator[Sample]:
    """Yield the samples of rows; a row that gives none is told to `on_reject(name, origin)`."""
    for raw in raws:
        if raw.row is None:
            on_reject(raw.trouble, raw.origin)
            continue
        row = {(columns or {}).get(k, k): v for k, v in raw.row.items()}
        sample = _sample(row, raw.origin, pairs)
        if isinstance(sample, str):
            on_reject(sample, raw.origin)
        else:
            yield sample


def _sample(row: dict[str, Any], origin: str, pairs: bool) -> Sample | str:
    if "text" in row:
        return Sample(text=row["text"], origin=origin) if row["text"] else "empty"
    if "messages" in row:
        chosen = tuple(_message(m) for m in row["messages"])
        if not pairs:
            return Sample(chosen=chosen, origin=origin)
        other = Message(role="assistant", content=row["rejected_response"])
        return Sample(chosen=chosen, rejected=(*chosen[:-1], other), origin=origin)
    return "unknown-format"


def _message(said: Mapping[str, Any]) -> Message:
    more = {k: v for k, v in said.items() if k not in ("role", "content", "loss")}
    return Message(role=said["role"], content=said["content"], more=more, loss=said.get("loss"))
