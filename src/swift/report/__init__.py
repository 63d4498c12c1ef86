"""Reports: where else a run's events go while it runs; each is a reader of events.jsonl.

Add one: a file here with a frozen class under `@reports.add("name")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from swift.core.errors import Problem
from swift.core.registry import Registry
from swift.core.schema import Component


class Writer(Protocol):
    """Takes the events of one process's part of a run, in order."""

    def take(self, event: Mapping[str, Any]) -> None:
        """Write what this report keeps of an event.

        `start` and `resume` hold `step`: later steps that an earlier part told of were undone.
        """

    def close(self) -> None:
        """Leave everything on disk: the run is about to end, and no event follows."""


class Report(Component):
    """Options of a report."""

    def missing(self) -> Problem | None:
        """Return what this machine lacks for it, None if nothing; asked before a run begins."""
        return None

    def open(self, folder: Path) -> Writer:
        """Return a writer for the run in `folder`; only rank 0 asks for one."""
        raise NotImplementedError


reports: Registry[Report] = Registry("report", "swift.report")


def listed(said: Any) -> Any:
    """Return the reports that the value of `report:` means: one item, or a list of them.

    Raises:
        UserError: There is no such name.
        pydantic.ValidationError: An option is unknown.
    """
    items = said if isinstance(said, list | tuple) else () if said is None else (said,)
    return tuple(reports.make(item) for item in items)
