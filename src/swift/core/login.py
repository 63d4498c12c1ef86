"""The token that ModelScope's own client keeps: in a pickled jar of cookies."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAME = "m_session_id"
_MOST = 1 << 20
"""The largest file that is read: a jar has a few kilobytes."""


def session_of(path: Path) -> str:
    """Return the token in a pickled jar of cookies; "" without one, or where it has expired.

    Nothing that the file names is imported or called: a jar is read, whoever wrote it.
    """
    try:
        with path.open("rb") as file:
            found: Any = _Reader(file).load() if path.stat().st_size <= _MOST else None
    except Exception:  # a broken pickle may raise anything
        return ""
    for cookie in _things(found, 8):
        said = cookie.__dict__
        expires = said.get("expires")
        if said.get("name") == _NAME and isinstance(said.get("value"), str):
            late = isinstance(expires, int | float) and expires < time.time()
            return "" if late else str(said["value"])
    return ""


class _Thing:
    """Stands for an object of any class: it has the values, and does nothing."""

    def __init__(self, *args: object, **more: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Thing]:
        """Return the stand-in, whatever class is asked for."""
        return _Thing


def _things(value: object, depth: int) -> Iterator[_Thing]:
    """Yield all stand-ins in a value, as deep as a jar is."""
    if isinstance(value, _Thing):
        yield value
        value = value.__dict__
    if isinstance(value, dict) and depth:
        for inside in value.values():
            yield from _things(inside, depth - 1)
