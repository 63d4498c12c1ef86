"""curves.png: a run's numbers over its steps, drawn from its events.jsonl alone."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.files import write_bytes
from swift.run.history import History, read_history, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "curves.png"
"""Its name in the run folder."""

_MOST = 24
"""Panels at most; further metrics are in events.jsonl."""

_ACROSS = 3
"""Panels side by side."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One small drawing: points are (step, value)."""

    title: str

    train: Sequence[tuple[int, float]]
    """Of each step."""

    held_out: Sequence[tuple[int, float]] = ()
    """Of each validation."""


def panels(history: History) -> list[Panel]:
    """Return what is worth a panel: all that has a point and moves, the loss first."""
    fixed = (("loss", "loss"), ("learning rate", "learning_rate"), ("gradient norm", "grad_norm"))
    metrics = sorted(history.metrics(), key=lambda name: not name.startswith("reward"))
    named = [*fixed, *((name, name) for name in metrics)]
    found = [
        Panel(
            title=title,
            train=series(history.steps, name),
            held_out=series(history.evals, name),
        )
        for title, name in named
    ]
    return [p for n, p in enumerate(found) if (n < len(fixed) or not _level(p)) and _any(p)][:_MOST]


def _any(panel: Panel) -> bool:
    return bool(panel.train or panel.held_out)


def _level(panel: Panel) -> bool:
    """Return whether a metric was the same all along, which needs no picture."""
    values = [value for _, value in (*panel.train, *panel.held_out)]
    return len(values) > 2 and min(values) == max(values)


def draw(folder: Path) -> Path | None:
    """Draw `folder`/curves.png anew and return its path; None where no step was taken.

    Raises:
        ImportError: matplotlib is missing.
        OSError: The file cannot be written.
    """
    found = panels(read_history(folder / "events.jsonl"))
    if not found:
        return None
    with _silent():
        data = _png(found, folder.resolve().name)
    write_bytes(folder / FILE, data)
    return folder / FILE


def draw_at_end(folder: Path, event: Callable[..., None]) -> None:
    """Draw the curves of a run that ends; a failure is a warning among its events, and no more."""
    try:
        draw(folder)
    except (Exception, KeyboardInterrupt) as error:
        # Of a library, a font, a disk or an impatient hand: the end is to be written all the same.
        why = str(error) or type(error).__name__
        text = f"{FILE} was not drawn: {why}; draw it later: swift runs show {folder} --draw"
        event("warning", text=text)


def _png(found: Sequence[Panel], title: str) -> bytes:
    """Return the picture. Without pyplot: it would look for a display, and keep the figure."""
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(_ACROSS, len(found))
    down = -(-len(found) // across)
    data = BytesIO()
    with rc_context():
        rcdefaults()  # the user's own settings may ask for LaTeX, or for fonts that are not here
        wide, high = 4.2 * across, 2.8 * down + 0.4
        figure = Figure(figsize=(wide, high), dpi=100)
        # By hand: a layout that is sought takes as long as all the rest.
        figure.subplots_adjust(
            left=0.6 / wide,
            right=1 - 0.15 / wide,
            bottom=0.3 / high,
            top=1 - 0.75 / high,
            wspace=0.22,
            hspace=0.32,
        )
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=10, y=1 - 0.15 / high, parse_math=False)
        for number, panel in enumerate(found, 1):
            _fill(figure.add_subplot(down, across, number), panel)
        figure.savefig(data, format="png")
    return data.getvalue()


def _fill(axes: Axes, panel: Panel) -> None:
    lines: tuple[tuple[Any, ...], ...] = (
        (panel.train, "training", "C0", 1.0),
        (panel.held_out, "validation", "C1", 1.6),
    )
    for points, label, colour, width in lines:
        if points:
            steps, values = zip(*points, strict=True)
            mark = "o" if len(points) < 30 else ""
            axes.plot(
                steps, values, color=colour, linewidth=width, marker=mark, markersize=3, label=label
            )
    axes.set_title(panel.title, fontsize=9, parse_math=False)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if panel.held_out:
        axes.legend(fontsize=7)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what matplotlib says off the terminal: fonts being listed, letters without a glyph."""
    log = logging.getLogger("matplotlib")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
