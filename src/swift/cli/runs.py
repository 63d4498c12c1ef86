"""`swift runs`: what stands under runs/, read from the files of each run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.cli.flags import split
from swift.core.errors import Problem, UserError
from swift.core.events import read_events
from swift.run.history import number, whole

SILENT_AFTER = 600
"""Seconds without an event after which a run that never ended counts as broken off."""

HELP = """usage: swift runs [FOLDER] [--json]
       swift runs show RUN [--draw] [--samples 5] [--json]

List the runs in FOLDER (default: runs), or tell all of one: a folder, or a name in runs.

  --draw     draw RUN/curves.png anew from its events
  --samples  print so many of the answers that were drawn last, with what rewards said
  --json     print JSON"""

_HEAD = ("name", "method", "model", "state", "step", "result", "age")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One folder, as its files tell it."""

    name: str
    method: str = "?"
    model: str = "?"

    state: str = "empty"
    """running, finished, interrupted, failed, broken off (no end, and silent), or empty."""

    step: int = 0
    total_steps: int = 0
    """0 where the run has not said."""

    loss: float | None = None
    """Of its last step."""

    reward: float | None = None
    """Of its last step, where answers are judged: then the loss says nothing."""

    changed: float = 0.0
    """When its last event was written, in seconds since 1970."""


def main(verb: str, words: list[str]) -> int:
    """Print the runs under runs/ (or the folder given), the newest first, or all of one run."""
    line = split(words, alone=frozenset({"json", "help", "draw"}), many=lambda name: False)
    as_json, line = line.pick("json")
    wants_help, line = line.pick("help")
    if wants_help:
        print(HELP)
        return 0
    if line.files[:1] == ("show",):
        from swift.cli.history import show

        return show(line, as_json=as_json is not None)
    if line.flags or len(line.files) > 1:
        fix = "usage: swift runs [FOLDER] [--json]"
        raise UserError(Problem(what=f"`swift runs` does not take {' '.join(words)}", fix=fix))
    folder = Path(line.files[0] if line.files else "runs")
    found = list_runs(folder)
    if as_json:
        print(json.dumps([vars(run) for run in found], indent=2, ensure_ascii=False))
    elif not found:
        print(f"there is no run in `{folder}`")
    else:
        print(_table([_HEAD, *(_row(run, time.time()) for run in found)]))
    return 0


def list_runs(folder: Path) -> list[Run]:
    """Return the runs in `folder`, the one that changed last first; [] if it is not there."""
    if not folder.is_dir():
        return []
    signs = ("events.jsonl", "plan.json", "recipe.yaml")
    places = [p for p in folder.iterdir() if any((p / sign).is_file() for sign in signs)]
    return sorted((read_run(place) for place in places), key=lambda run: -run.changed)


def read_run(place: Path) -> Run:
    """Read one run, whatever of it is there."""
    recipe = read_recipe(place)
    seen: dict[str, Any] = {}
    for event in read_events(place / "events.jsonl"):
        known = ("step", "loss", "reward", "total_steps")
        named = known if event["event"] == "step" else ("step", "total_steps")
        seen.update({k: v for k, v in event.items() if k in named})
        seen["last"] = event
    changed = max(p.lstat().st_mtime for p in [*place.iterdir()] or [place])
    return Run(
        name=place.name,
        method=_named(recipe.get("method"), "name"),
        model=_named(recipe.get("model"), "id"),
        state=_state(seen.get("last"), time.time() - changed),
        step=whole(seen.get("step")),
        total_steps=whole(seen.get("total_steps")),
        loss=number(seen.get("loss")),
        reward=number(seen.get("reward")),
        changed=changed,
    )


def read_recipe(place: Path) -> Mapping[str, Any]:
    """Return the recipe inside plan.json; {} where there is none to be read."""
    try:
        plan = json.loads((place / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    recipe = plan.get("recipe") if isinstance(plan, dict) else None
    return recipe if isinstance(recipe, dict) else {}


def _named(said: Any, key: str) -> str:
    name = said.get(key) if isinstance(said, Mapping) else said
    return str(name) if name else "?"


def _state(last: Mapping[str, Any] | None, silent: float) -> str:
    if last is None:
        return "empty"
    if last["event"] == "end":
        return str(last.get("reason") or "finished")
    return "running" if silent < SILENT_AFTER else "broken off"


def _row(run: Run, now: float) -> tuple[str, ...]:
    result = "" if run.loss is None else f"loss {run.loss:.4f}"
    result = result if run.reward is None else f"reward {run.reward:.4f}"
    step = f"{run.step}/{run.total_steps}" if run.total_steps else str(run.step)
    return (run.name, run.method, run.model, run.state, step, result, _age(now - run.changed))


def _age(seconds: float) -> str:
    """Return a span in its largest unit: "3 h"."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
