"""The run folder: taken, continued or refused, and known to be writable and large enough."""

from __future__ import annotations

import shutil
from pathlib import Path

from swift.checkpoint import newest, read_card
from swift.core.errors import MachineError, PlanError, Problem
from swift.core.events import read_events
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
        folder = _next(plan)
    else:
        folder = Path(plan.output_dir)
        if folder.is_dir() and any(p.name != ".lock" for p in folder.iterdir()):
            return folder, _continued(plan, folder)
        _make(folder)
    probe(folder)
    write_text(folder / "recipe.yaml", plan.recipe.dump())
    write_plan(plan.model_copy(update={"output_dir": str(folder)}), folder)
    return folder, None


def _next(plan: Plan) -> Path:
    """Make runs/<model>-<method>-NNN, the first free number; two runs never share one."""
    stem = f"{Path(plan.model.id).name}-{plan.recipe.method.name}"
    number = 1
    while True:
        folder = RUNS / f"{stem}-{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise _unwritable(folder, error) from error
        else:
            return folder


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
    last = None
    for event in read_events(folder / "events.jsonl"):
        last = event
    return last is not None and last["event"] == "end" and last.get("reason") == "failed"


def _replace(plan: Plan, folder: Path) -> None:
    """Put `plan` in the place of a run that failed and left no checkpoint."""
    with locked(folder / ".lock"):
        (folder / "events.jsonl").rename(folder / "events.failed.jsonl")
        write_text(folder / "recipe.yaml", plan.recipe.dump())
        write_plan(plan.model_copy(update={"output_dir": str(folder)}), folder)


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
    last = None
    for event in read_events(folder / "events.jsonl"):
        last = event
    if last is not None and last["event"] == "end" and last.get("reason") == "finished":
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
