"""A file of TensorBoard's events, by TensorBoard's own writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

_FLUSH = 10
"""Seconds after which what was written is on disk."""


class Scalars:
    """A new file in a folder; files of earlier parts of the run stay beside it."""

    def __init__(self, folder: Path) -> None:
        self._file = EventFileWriter(str(folder), flush_secs=_FLUSH)

    def purge(self, step: int, when: float) -> None:
        """Let readers forget what earlier files hold of `step` and later ones."""
        log = SessionLog(status=SessionLog.START)
        self._file.add_event(Event(wall_time=when, step=step, session_log=log))

    def add(self, step: int, when: float, values: Mapping[str, float]) -> None:
        """Write values of a step; `when` is in seconds since 1970."""
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        event = Event(wall_time=when, step=step, summary=Summary(value=scalars))
        self._file.add_event(event)

    def flush(self) -> None:
        """Put everything on disk."""
        self._file.flush()

    def close(self) -> None:
        """Put everything on disk, and close the file."""
        self._file.close()
