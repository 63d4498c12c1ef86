"""events.jsonl: the truth about a run, one JSON object a line. Every display is a reader of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Events:
    """Appends events; each line is whole or, after a kill, the last one is not there.

    An event is {"event": kind, "time": seconds since 1970, ...}. Kinds: start, note, template,
    data, reference, step, eval, save, resume, warning, end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        torn = path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n")
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def write(self, event: str, **fields: Any) -> dict[str, Any]:
        """Append one event and return it."""
        line = {"event": event, "time": round(time.time(), 3), **fields}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file; a line torn by a kill is passed over."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event
