"""`swift runs show RUN`: what one run was, how it went, and what is left of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swift.cli.flags import Line
from swift.cli.runs import read_recipe, read_run
from swift.cli.samples import samples_of
from swift.core.errors import Problem, UserError
from swift.core.files import size_words
from swift.run.history import History, headline, number, read_history, series

USAGE = "usage: swift runs show RUN [--draw] [--samples 5] [--json]"

_WIDE, _HIGH = 60, 8
"""Characters of the small curve."""


def show(line: Line, *, as_json: bool) -> int:
    """Print one run: a folder, or a name under runs/.

    Raises:
        UserError: There is no such folder, or a word is unknown.
    """
    drawn, line = line.pick("draw")
    samples, line = line.pick("samples")
    if line.flags or len(line.files) != 2:
        more = [name for name, _ in line.flags] or "RUN"
        what = f"`swift runs show` does not take {' '.join(more)}" if line.flags else "name one run"
        raise UserError(Problem(what=what, fix=USAGE))
    folder = _found(line.files[1])
    if samples:
        print(_clean(samples_of(folder, samples)))
        return 0
    history = read_history(folder / "events.jsonl")
    facts = told(folder, history)
    if drawn:
        facts["curves"] = _drawn(folder)
    print(json.dumps(facts, indent=2, ensure_ascii=True) if as_json else _page(facts, history))
    return 0


def told(folder: Path, history: History) -> dict[str, Any]:
    """Return what is known of a run; None (or nothing) for what its files do not say."""
    run, recipe = read_run(folder), read_recipe(folder)
    last = history.last or {}
    curves = folder / "curves.png"
    return {
        "name": run.name,
        "folder": str(folder),
        "state": run.state,
        "error": str(last["error"]) if last.get("error") else None,
        "method": run.method,
        "model": run.model,
        "data": _datasets(recipe.get("dataset")),
        "recipe": _text(folder / "recipe.yaml"),
        "step": history.steps[-1]["step"] if history.steps else 0,
        "total_steps": history.total_steps,
        "resumed": history.resumed,
        "reward": _best(history.steps, "reward"),
        "loss": _best(history.steps),
        "validation": _best(history.evals),
        "metrics": {n: found[-1][1] for n in history.metrics() if (found := _either(history, n))},
        **_cost(history),
        "checkpoints": _checkpoints(folder),
        "curves": str(curves) if curves.is_file() else None,
        "warnings": list(history.warnings),
        "changed": run.changed,
    }


def curve(points: Sequence[tuple[int, float]], wide: int = _WIDE, high: int = _HIGH) -> list[str]:
    """Return (step, value) as lines of plain characters; each column is the mean of its steps."""
    columns: list[list[float]] = [[] for _ in range(min(wide, len(points)))]
    for i, (_, value) in enumerate(points):
        columns[i * len(columns) // len(points)].append(value)
    means = [sum(values) / len(values) for values in columns]
    low, top = min(means), max(means)
    step = (top - low) / (high - 1) or 1.0
    rows = [round((top - mean) / step) for mean in means]
    down = max(rows) + 1
    ends = [f"{top:.4g}", *[""] * (down - 2), *([f"{low:.4g}"] if down > 1 else [])]
    margin = max(map(len, ends))
    lines = [
        f"{end:>{margin}} |" + "".join("*" if row == at else " " for row in rows).rstrip()
        for at, end in enumerate(ends)
    ]
    first, last = str(points[0][0]), str(points[-1][0])
    axis = f"{'':>{margin}} +" + "-" * len(means)
    return [*lines, axis, f"{'':>{margin}}  {first}{last:>{max(len(means) - len(first), 1)}}"]


def _found(word: str) -> Path:
    """Return the folder of a run that a person names."""
    places = [Path(word), Path("runs") / word]
    folder = next((p for p in places if "\0" not in word and p.is_dir()), None)
    if folder is None:
        what = f"there is no run `{_clean(word)}`, nor one of that name in `runs`"
        raise UserError(Problem(what=what, fix="`swift runs` lists what is there"))
    return folder


def _drawn(folder: Path) -> str | None:
    """Draw curves.png anew and return its path; None without a step."""
    from swift.run.curves import draw

    try:
        path = draw(folder)
    except (ImportError, OSError) as error:
        problem = Problem(what=f"curves.png was not drawn: {error}", where=str(folder))
        raise UserError(problem) from error
    return str(path) if path else None


def _datasets(said: object) -> list[str]:
    items = said if isinstance(said, list) else [said]
    return [str(item.get("name", "?")) if isinstance(item, Mapping) else "?" for item in items]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _best(events: Sequence[Mapping[str, Any]], name: str = "loss") -> dict[str, float | int] | None:
    """Return the last and the lowest loss, or the highest reward, each with its step."""
    points = series(events, name)
    if not points:
        return None
    found = max if name == "reward" else min
    step, best = found(points, key=lambda point: point[1])
    last_step, last = points[-1]
    return {"last": last, "last_step": last_step, "best": best, "best_step": step}


def _either(history: History, name: str) -> list[tuple[int, float]]:
    return series(history.steps, name) or series(history.evals, name)


def _cost(history: History) -> dict[str, float | None]:
    """Return the time and the memory that the steps took that count."""
    timed = [
        (tokens, seconds)
        for event in history.steps
        if (tokens := number(event.get("tokens"))) is not None
        and (seconds := number(event.get("seconds"))) is not None
    ]
    tokens, seconds = (sum(column) for column in zip(*timed, strict=True)) if timed else (0, 0)
    memory = [value for _, value in series(history.steps, "memory_mb")]
    return {
        "tokens": tokens or None,
        "seconds": round(seconds, 3) or None,
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "memory_mb": max(memory, default=None),
    }


def _checkpoints(folder: Path) -> list[dict[str, str | int]]:
    """Return the whole checkpoints, oldest first, with the bytes of their files."""
    named = [(p.name.removeprefix("checkpoint-"), p) for p in folder.glob("checkpoint-*")]
    found = [(int(n), p) for n, p in named if n.isdecimal() and (p / "swift.json").is_file()]
    return [{"name": p.name, "bytes": _bytes(p)} for _, p in sorted(found)]


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:  # a run that goes on drops its old checkpoints
            continue
    return total


def _page(facts: Mapping[str, Any], history: History) -> str:
    """Return the facts as lines for people."""
    of = facts["total_steps"]
    rows = {
        "run": facts["folder"],
        "state": facts["state"] + _ago(facts["changed"]),
        "error": facts["error"],
        "method": facts["method"],
        "model": facts["model"],
        "data": ", ".join(facts["data"]),
        "steps": f"{facts['step']}" + (f" of {of}" if of else "") + _times(facts["resumed"]),
        "reward": _losses(facts["reward"]),
        "loss": "" if facts["reward"] else _losses(facts["loss"]),
        "validation": _losses(facts["validation"]),
        "metrics": "  ".join(f"{name} {value:.4g}" for name, value in facts["metrics"].items()),
        "speed": _speed(facts),
        "memory": f"{facts['memory_mb']:,.0f} MB" if facts["memory_mb"] else "",
        "checkpoints": "\n".join(
            f"{c['name']}  {size_words(c['bytes'])}" for c in facts["checkpoints"]
        ),
        "curves": facts["curves"],
        "warnings": "\n".join(facts["warnings"]),
        "recipe": facts["recipe"].strip(),
    }
    page = [_row(name, text) for name, text in rows.items() if text]
    name = headline(history.steps)
    points = series(history.steps, name)
    if len(points) > 1:
        page += ["", f"{name} of steps {points[0][0]} to {points[-1][0]}", *curve(points)]
    return _clean("\n".join(page))


def _row(name: str, text: str) -> str:
    first, *rest = text.splitlines()
    return "\n".join([f"{name:>11}  {first}", *(f"{'':>11}  {line}" for line in rest)])


def _losses(found: Mapping[str, float] | None) -> str:
    if not found:
        return ""
    last = f"{found['last']:.4f} after step {found['last_step']}"
    return f"{last}; best {found['best']:.4f} after step {found['best_step']}"


def _speed(facts: Mapping[str, Any]) -> str:
    if not facts["tokens_per_second"]:
        return ""
    speed = f"{facts['tokens_per_second']:,.0f} tokens per second"
    return f"{speed} ({facts['tokens']:,.0f} tokens in {facts['seconds']:,.1f} s of steps)"


def _times(resumed: int) -> str:
    times = f"{resumed} time" + "s" * (resumed > 1)
    return f", gone on with {times}" if resumed else ""


def _ago(changed: float) -> str:
    return time.strftime(", last changed %Y-%m-%d %H:%M", time.localtime(changed))


def _clean(text: str) -> str:
    """Return text without what a terminal would obey, or could not write."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
