"""How is a head made to answer for a few positions only, with all that an engine hooked to it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

Said = TypeVar("Said")


@contextmanager
def speaking(head: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let `head` answer by `forward`; its hooks stay. An engine's own patch comes back after."""
    slot: dict[str, Any] = head.__dict__
    before = slot.get("forward")
    slot["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del slot["forward"]
        else:
            slot["forward"] = before


@contextmanager
def heard(head: nn.Module, got: list[Said], dummy: Callable[[Said], Tensor]) -> Iterator[None]:
    """Take the head's answer, after all other hooks, and hand the model `dummy` of it."""

    def take(module: nn.Module, args: tuple[Any, ...], out: Said) -> Tensor:
        got.append(out)
        return dummy(out)

    handle = head.register_forward_hook(take)
    try:
        yield
    finally:
        handle.remove()
