"""`swift check`: would this run be wasted? Said before any device works."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.cli.bars import blocks, svg
from swift.cli.flags import Line, split
from swift.cli.train import wish
from swift.core import env
from swift.core.errors import Problem, SwiftError, UserError
from swift.core.files import size_words, write_text
from swift.recipe.spelling import takes_list

if TYPE_CHECKING:
    from swift.dataset.report import Report
    from swift.run.check import Checked, Finding, Shown

USAGE = """usage: swift check [recipe.yaml] [--key value ...] [--samples N] [--picture SVG] [--json]

Say what would become of a run: the recipe, the rows, the template, leaks between training and
validation, memory, disk and time. No device is touched; the tokens are kept for the run.

  --samples N          show N samples, with what is trained of them (0 by default)
  --picture SVG        draw the histogram of lengths, into that file
  --json               print all of it for programs

Exit code 0: nothing speaks against the run, or only warnings; 2 or 3: it would be wasted."""

_ALONE = frozenset({"help", "json"})
_MACHINE = ("memory", "disk")
_TRAINED, _REST, _PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"


def main(verb: str, words: list[str]) -> int:
    """Check as the command line says and return the exit code."""
    line = split(words, alone=_ALONE, many=lambda name: bool(takes_list(name)))
    wants_help, line = line.pick("help")
    if wants_help:
        print(USAGE)
        return 0
    as_json, line = line.pick("json")
    try:
        return _checked(line, bool(as_json))
    except SwiftError as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "problems": [vars(p) for p in error.problems]}, indent=2))
        return error.exit_code


def _checked(line: Line, as_json: bool) -> int:
    show, line = line.pick("samples")
    picture, line = line.pick("picture")
    count, file = _count(show), _file(picture)
    recipe = wish("train", line)
    check = import_module("swift.run.check").check
    found: Checked = check(recipe, show=count, say=lambda text: print(text, file=sys.stderr))
    if file is not None:
        report, limit = found.reports["train"], found.plan.room
        title = f"Lengths of {sum(report.lengths.values()):,} samples"
        write_text(file, svg(report.bins(60), title=title, limit=limit))
    if as_json:
        print(json.dumps(_told(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))
    return _code(found.failures)


def _count(said: Any) -> int:
    if said is None:
        return 0
    if not (isinstance(said, str) and said.isdecimal() and len(said) < 9):
        number = "whole number from 0 to 99,999,999"
        what = f"`{said}` is no {number}" if isinstance(said, str) else f"it takes a {number}"
        raise UserError(Problem(where="--samples", what=what, fix="--samples 3"))
    return int(said)


def _file(said: Any) -> Path | None:
    if said is None:
        return None
    if not isinstance(said, str) or not said.lower().endswith(".svg"):
        what = f"`{said}` is no name of an SVG file" if isinstance(said, str) else "it names a file"
        raise UserError(Problem(where="--picture", what=what, fix="--picture check.svg"))
    return Path(said)


def _code(failures: tuple[Finding, ...]) -> int:
    if not failures:
        return 0
    return 3 if all(finding.name in _MACHINE for finding in failures) else 2


def _lines(found: Checked) -> Iterator[str]:
    colours = env.colours(terminal=sys.stdout.isatty())
    yield found.plan.describe()
    for split_, report in found.reports.items():
        if report.rows:
            yield ""
            yield from _of_data(split_, report)
    yield ""
    yield from _of_needs(found)
    for shown in found.shown:
        yield ""
        yield from _sample(shown, colours)
    yield ""
    for finding in found.findings:
        yield f"{finding.level}: {finding.text}"
        if finding.fix:
            yield f"     fix: {finding.fix}"
    yield _verdict(found)


def _of_data(split_: str, report: Report) -> Iterator[str]:
    yield f"{split_}: {report.describe()}"
    lengths = [("half", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("all", 1.0)]
    told = ", ".join(f"{name} up to {report.quantile(share):,}" for name, share in lengths)
    yield f"  lengths in tokens: {told}"
    yield from (f"    {line}" for line in blocks(report.bins()))


def _of_needs(found: Checked) -> Iterator[str]:
    room = f" of {size_words(found.room)}" if found.room else ""
    parts = sorted(found.memory.items(), key=lambda part: -part[1])
    told = ", ".join(f"{name} {size_words(size)}" for name, size in parts if size)
    yield f"memory: about {size_words(sum(found.memory.values()))}{room} a device (a first figure:"
    yield f"        {told})"
    yield f"disk:   {size_words(found.disk)} for checkpoints, {size_words(found.free)} are free"
    yield f"steps:  {found.steps:,}"
    time = f"about {_clock(found.seconds)}" if found.seconds is not None else "not known"
    yield f"time:   {time} (rests on: {found.rests})"


def _clock(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes:,.0f} min" if minutes < 120 else f"{minutes / 60:,.1f} h"


def _sample(shown: Shown, colours: bool) -> Iterator[str]:
    if colours:
        parts = [f"{_TRAINED if on else _REST}{text}{_PLAIN}" for text, on in shown.parts]
        yield f"{shown.origin}  ({_TRAINED}trained{_PLAIN}, {_REST}not trained{_PLAIN})"
    else:
        parts = [f"⟦{text}⟧" if on else text for text, on in shown.parts]
        yield f"{shown.origin}  (⟦trained⟧, not trained)"
    yield from (f"  {line}" for line in "".join(parts).split("\n"))


def _verdict(found: Checked) -> str:
    failures = len(found.failures)
    warnings = len(found.findings) - failures
    more = f"{warnings} warning{'s' * (warnings != 1)}"
    if failures:
        return f"this run would be wasted: {failures} failure{'s' * (failures != 1)}, {more}"
    return f"nothing speaks against this run; {more}"


def _told(found: Checked) -> dict[str, Any]:
    return {
        "ok": not found.failures,
        "plan": found.plan.digest,
        "template": found.plan.verdict,
        "findings": [vars(finding) for finding in found.findings],
        "data": {split_: report.told() for split_, report in found.reports.items()},
        "steps": found.steps,
        "memory": {**found.memory, "total": sum(found.memory.values()), "room": found.room},
        "disk": {"needed": found.disk, "free": found.free},
        "seconds": found.seconds,
        "seconds_rest_on": found.rests,
        "samples": [
            {"origin": s.origin, "parts": [{"text": t, "trained": on} for t, on in s.parts]}
            for s in found.shown
        ],
    }
