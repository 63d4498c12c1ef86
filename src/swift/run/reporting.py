"""A run's events handed to the reports that the recipe names; none of them can fail the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from swift.report import Report, Writer


class Reporting:
    """The reports of a run, opened by the first event.

    One that fails is warned of once and gets no further event.
    """

    def __init__(
        self, reports: Sequence[Report], folder: Path, warn: Callable[[str], None]
    ) -> None:
        """Report on the run in `folder`; `warn` makes a warning event of a failure."""
        self._closed = reports
        self._folder = folder
        self._warn = warn
        self._writers: dict[str, Writer] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Hand an event to each; after `close`, to none."""
        closed, self._closed = self._closed, ()
        for report in closed:
            self._try(report.name, partial(self._open, report))
        for name, writer in [*self._writers.items()]:
            self._try(name, partial(writer.take, event))

    def close(self) -> None:
        """Close each."""
        writers, self._writers = self._writers, {}
        for name, writer in writers.items():
            self._try(name, writer.close)

    def _open(self, report: Report) -> None:
        self._writers[report.name] = report.open(self._folder)

    def _try(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # of a library, a plug-in or a disk: the training goes on
            self._writers.pop(name, None)
            self._warn(f"the report `{name}` ends here: {type(error).__name__}: {error}")
