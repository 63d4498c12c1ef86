"""TensorBoard: the numbers of steps and validations as scalars."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import Problem
from swift.report import Report, Writer, reports

if TYPE_CHECKING:
    from swift.report._scalars import Scalars

_PARTS = {"step": "train", "eval": "eval"}
"""Kind of event -> the first part of its scalars' names, as TRL and transformers write them."""


@reports.add("tensorboard")
class TensorBoard(Report):
    """Scalars under RUN/tensorboard: `train/loss`, `eval/loss`, `train/rewards/margins`, ..."""

    def missing(self) -> Problem | None:
        """Return a problem if tensorboard is not installed."""
        if find_spec("tensorboard") is not None:
            return None
        return Problem(
            where="report",
            what="`report: tensorboard` needs tensorboard, which is not installed",
            fix='pip install "swift-llm[report]"',
        )

    def open(self, folder: Path) -> Writer:
        """Return a writer of RUN/tensorboard; a resumed run gets a further file there."""
        return _Writer(folder / "tensorboard")


class _Writer:
    """Makes its file when the run begins: what fails before leaves none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Scalars | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind in ("start", "resume"):
            from swift.report._scalars import Scalars

            self.close()
            self._file = Scalars(self._folder)
            self._file.purge(event["step"] + 1, event["time"])
        elif self._file is not None and kind in _PARTS:
            values = _scalars(_PARTS[kind], event)
            self._file.add(event["step"], event["time"], values)
        elif self._file is not None and kind == "save":
            self._file.flush()  # after a kill the run goes on from here: nothing before is missing

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _scalars(part: str, event: Mapping[str, Any]) -> dict[str, float]:
    """Return the event's numbers by the names of their scalars."""
    values = {k: v for k, v in event.items() if k not in ("event", "time", "step")}
    numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
    return {f"{part}/{name}": float(value) for name, value in numbers.items()}
