"""`swift demo`: the whole journey on the embedded model, and a table of what happened."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from swift.cli.flags import Line, split
from swift.cli.program import program
from swift.cli.words import table, word
from swift.core.errors import Interrupted, Problem, UserError

if TYPE_CHECKING:
    from swift.run.demo import Trip

_WIDTH = 90
"""Longest result in the table, in letters."""

_USAGE = """usage: swift demo [--run DIR] [--keep] [--rows N] [--max_steps N]

On the embedded model: data, score, fine-tuning, score, merge, served API, one request; then a
table of what happened. What was done before is skipped; what was stopped goes on.

  --run DIR      where everything goes (default: runs/demo)
  --keep         leave the server running at the end
  --rows N       held-out rows of each kind that are scored (default: 40)
  --max_steps N  train so many steps only
"""


def main(verb: str, words: list[str]) -> int:
    """Make the journey and return the exit code.

    Raises:
        SwiftError: A flag is wrong, or a stage failed.
    """
    line = split(words, alone=frozenset({"keep", "yes", "help"}), many=lambda name: False)
    wants_help, line = line.pick("help")
    if wants_help:
        print(_USAGE, end="")
        return 0
    folder, rows, steps, keep = _flags(line)
    begin = time.monotonic()
    from swift.run.demo import STAGES, Trip, travel

    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl+C: the server is stopped first
        signal.signal(number, signal.default_int_handler)
    trip = Trip(folder=folder, keep=keep, max_steps=steps, **({"rows": rows} if rows else {}))
    shown = _Shown(STAGES)
    try:
        found = travel(trip, shown)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(word("demo.stopped"), file=sys.stderr)
        return stop.exit_code if isinstance(stop, Interrupted) else 130
    finally:
        shown.close()
    print(f"\n{table(_rows(found, trip))}\n\n{word('demo.time', seconds=time.monotonic() - begin)}")
    if keep:
        print(word("demo.kept", **found["serve"]))
    else:
        print(word("demo.again", swift=program(), model=trip.merged))
    print(word("demo.next", swift=program(), run=trip.sft))
    return 0


def _flags(line: Line) -> tuple[Path, int | None, int | None, bool]:
    folder, line = line.pick("run")
    rows, line = line.pick("rows")
    steps, line = line.pick("max_steps")
    keep, line = line.pick("keep")
    _, line = line.pick("yes")  # a demo asks nothing anyway
    strangers = [*line.files, *(f"--{name}" for name, _ in line.flags)]
    problems = [
        Problem(what=f"`swift demo` does not take `{stranger}`", fix="`swift demo --help`")
        for stranger in strangers
    ]
    for name, value in (("rows", rows), ("max_steps", steps)):
        if value is not None and not (str(value).isdecimal() and 0 < int(value) <= 10**6):
            what = f"`{value}` is no number of {name}"
            problems.append(Problem(where=f"--{name}", what=what, fix=f"--{name} 20"))
    if folder is True:
        problems.append(Problem(where="--run", what="it names no folder", fix="--run runs/demo"))
    if problems:
        raise UserError(problems)
    return Path(folder or "runs/demo"), _number(rows), _number(steps), bool(keep)


def _number(said: Any) -> int | None:
    return None if said is None else int(said)


def _rows(found: Mapping[str, Mapping[str, Any]], trip: Trip) -> list[tuple[str, str, str]]:
    """Return the table of what happened: step, result, place."""
    places = {
        "data": found["data"]["name"],
        "before": str(trip.folder / "before.json"),
        "after": str(trip.folder / "after.json"),
        "serve": f"{found['serve']['url']}/v1",
        "ask": found["ask"]["url"],
    }
    rows = [(word("demo.what"), word("demo.result"), word("demo.where")), ("----",) * 3]
    for stage, fact in found.items():
        place = str(fact.get("made") or places[stage])
        rows.append((word(f"demo.{stage}"), _result(stage, fact), place))
    answer = (word("demo.answered"), _verdict(found["ask"]), str(trip.folder / "ask.json"))
    home = str(Path.home())
    return [
        (name, shorten(result, _WIDTH, placeholder="…"), place.replace(home, "~"))
        for name, result, place in (*rows, answer)
    ]


def _result(stage: str, fact: Mapping[str, Any]) -> str:
    if stage in ("before", "after"):
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in fact["kinds"].items())
        return word("demo.score.result", share=fact["share"], kinds=kinds)
    return word(f"demo.{stage}.result", **fact)


def _verdict(fact: Mapping[str, Any]) -> str:
    return word("demo.right" if fact["right"] else "demo.wrong", **fact)


class _Shown:
    """The journey on a terminal: a line at a stage's begin and end, a bar where it is known."""

    def __init__(self, stages: tuple[str, ...]) -> None:
        self._stages = stages
        self._bar: Any = None

    def begin(self, stage: str) -> None:
        """Say that a stage begins."""
        print(self._number(stage), word("demo.begin", stage=word(f"demo.{stage}")), flush=True)

    def progress(self, done: int, total: int) -> None:
        """Move the bar; there is none where nobody looks."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, file=sys.stderr, leave=False)
        self._bar.update(done - self._bar.n)

    def end(self, stage: str, found: Mapping[str, Any], *, before: bool) -> None:
        """Say what a stage found."""
        self.close()
        name = word(f"demo.{stage}")
        if before:
            print(self._number(stage), word("demo.done", stage=name), flush=True)
        else:
            print("     ", _result(stage, found), flush=True)
        if stage == "ask":
            print("     ", _verdict(found), flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _number(self, stage: str) -> str:
        return f"[{self._stages.index(stage) + 1}/{len(self._stages)}]"
