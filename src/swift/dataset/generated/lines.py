"""nano-lines: nano-orders as plain text, an order and its JSON to a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swift.dataset.generated import orders


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the documents of a split of nano-orders.

    Raises:
        KeyError: There is no such split.
    """
    for row in orders.rows(split, seed):
        yield {"text": "\n".join(message["content"] for message in row["messages"])}
