"""The run folder: taken, continued or refused, and known to be writable and large enough."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from swift.checkpoint import newest, read_card
from swift.core.errors import Interrupted, MachineError, PlanError, Problem, SwiftError
from swift.core.events import Events, read_events
from swift.core.files import locked, probe, size_words, write_text
from swift.plan import Plan, read_plan, write_plan

RUNS = Path("runs")
"""Where runs without an `output_dir` go, in the working directory."""


def claim(plan: Plan, again: Path | None = None) -> tuple[Path, Path | None]:
    """Return (run folder, checkpoint to go on from or None) and write the plan into a new one.

    The same plan in a folder whose run is unfinished goes on there; so it does in `again`, the
    folder that these processes had before they were started again.

    Raises:
        PlanError: The folder holds another run, a finished one, or other files.
        MachineError: It cannot be written.
    """
    if again is not None and (again / "plan.json").is_file():
        return again, _continued(plan, again)
    if not plan.output_dir:
        return _next(plan), None
    folder = Path(plan.output_dir)
    if folder.is_dir() and any(p.name != ".lock" for p in folder.iterdir()):
        return folder, _continued(plan, folder)
    new = not folder.is_dir()
    _make(folder)
    _first(plan, folder, new)
    return folder, None


def _first(plan: Plan, folder: Path, new: bool) -> None:
    """Write the plan into an empty folder; if that fails a new one does not stay."""
    try:
        probe(folder)
        _put(plan, folder)
    except BaseException:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _put(plan: Plan, folder: Path) -> None:
    write_text(folder / "recipe.yaml", plan.recipe.dump())
    write_plan(plan.model_copy(update={"output_dir": str(folder)}), folder)


def _next(plan: Plan) -> Path:
    """Take runs/<model>-<method>-NNN, the first free number; two runs never share one."""
    stem = f"{Path(plan.model.id).name}-{plan.recipe.method.name}"
    _make(RUNS)
    number = 1
    while True:
        folder = RUNS / f"{stem}-{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            if _again(plan, folder):
                return folder
            number += 1
        except OSError as error:
            raise _unwritable(folder, error) from error
        else:
            _first(plan, folder, True)
            return folder


def _again(plan: Plan, folder: Path) -> bool:
    """Take the folder of a run that ended before it began; False if it is none, or is taken."""
    if not _unbegun(folder):
        return False
    with suppress(OSError, MachineError), locked(folder / ".lock"):
        if _unbegun(folder):
            _set_aside(folder)
            _put(plan, folder)
            return True
    return False


def _unbegun(folder: Path) -> bool:
    """Return whether the run of a folder ended, and no first step was near."""
    kinds = [event["event"] for event in read_events(folder / "events.jsonl")]
    begun = "start" in kinds or "resume" in kinds or newest(folder) is not None
    return not begun and kinds[-1:] == ["end"]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a ValueError of letters that no path has
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError | ValueError) -> MachineError:
    what = f"cannot write {str(folder)!a}: {error}"
    if isinstance(error, OSError):
        what = f"cannot write {folder}: {error.strerror}"
    return MachineError(Problem(where="output_dir", what=what, fix="give another output_dir"))


def _continued(plan: Plan, folder: Path) -> Path | None:
    """Return the checkpoint to go on from in a folder that holds this very plan, unfinished."""
    if why := obstacle(plan, folder):
        raise _taken(folder, why)
    if read_plan(folder).digest != plan.digest:
        _replace(plan, folder)
        return None
    return newest(folder)


def obstacle(plan: Plan, folder: Path) -> str:
    """Return why a folder that holds something cannot be the plan's; "" if it can."""
    if not (folder / "plan.json").is_file():
        return "it holds files that are no run's"
    if read_plan(folder).digest != plan.digest:
        other = newest(folder) is not None or not _failed(folder)
        return "it holds a run of another recipe" if other else ""
    return "its run is finished" if finished(folder) else ""


def _failed(folder: Path) -> bool:
    """Return whether the run ended by a failure (and is not only slow, or somewhere else)."""
    last = _last(folder)
    return last["event"] == "end" and last.get("reason") == "failed"


def _last(folder: Path) -> dict[str, Any]:
    """Return the last event of a folder; one of kind "" where there is none."""
    last: dict[str, Any] = {"event": ""}
    for event in read_events(folder / "events.jsonl"):
        last = event
    return last


def moves(plan: Plan, folder: Path) -> None:
    """Put `plan` in the place of the one that an unfinished run began with.

    Raises:
        MachineError: Another process is at work in the folder.
    """
    with locked(folder / ".lock"):
        _put(plan, folder)


def _replace(plan: Plan, folder: Path) -> None:
    """Put `plan` in the place of a run that failed and left no checkpoint."""
    with locked(folder / ".lock"):
        _set_aside(folder)
        _put(plan, folder)


def _set_aside(folder: Path) -> None:
    (folder / "events.jsonl").rename(folder / "events.failed.jsonl")


def ending(error: BaseException) -> dict[str, Any]:
    """Return what the last event says of a run that did not come to its end."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return {"reason": "interrupted"}
    code = error.exit_code if isinstance(error, SwiftError) else 1
    text = str(error) if isinstance(error, SwiftError) else repr(error)
    return {"reason": "failed", "error": text, "exit_code": code}


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Let events.jsonl say why the block failed, where nothing within has: as before training.

    A folder in which another process is at work is left alone.
    """
    before = _last(folder)
    try:
        yield
    except BaseException as error:
        with suppress(OSError, MachineError), locked(folder / ".lock"):
            if (now := _last(folder))["event"] != "end" or now == before:
                with closing(Events(folder / "events.jsonl")) as events:
                    events.write("end", **ending(error))
        raise


def clear_partial(folder: Path) -> None:
    """Remove what a killed process left half-written or half-deleted."""
    for pattern in (".checkpoint-*.partial", ".checkpoint-*.dropped"):
        for left in folder.glob(pattern):
            shutil.rmtree(left)


def _taken(folder: Path, why: str) -> PlanError:
    return PlanError(
        Problem(
            where="output_dir",
            what=f"{folder} is taken: {why}; nothing is overwritten",
            fix="give another output_dir",
        )
    )


def finished(folder: Path) -> bool:
    """Return whether the run in `folder` came to its end."""
    last = _last(folder)
    if last["event"] == "end" and last.get("reason") == "finished":
        return True
    found = newest(folder)
    if found is None:
        return False
    card = read_card(found)
    return card.step >= card.total_steps


def check_space(folder: Path, checkpoint_bytes: int, keep: int) -> None:
    """Know before the first step whether the checkpoints will fit.

    Raises:
        MachineError: Fewer bytes are free than `keep` checkpoints and one being written take.
    """
    needed = checkpoint_bytes * (keep + 1)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MachineError(
            Problem(
                where=str(folder),
                what=f"{keep} checkpoints and one being written take {size_words(needed)}, but "
                f"{size_words(free)} are free",
                fix="free some space, lower train.keep, or give an output_dir on another disk",
            )
        )
