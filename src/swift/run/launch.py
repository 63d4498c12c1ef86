"""From a plan to processes: this one, or several under torchrun, and their display."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from swift.checkpoint import newest
from swift.core.env import Ranks, cache_home, guarded_environment, ranks
from swift.core.errors import (
    Interrupted,
    MachineError,
    PlanError,
    Problem,
    SwiftError,
    TrainingError,
    WriteError,
)
from swift.core.events import read_events
from swift.core.files import locked, write_text
from swift.core.machine import machine
from swift.plan import Plan, moved, read_plan, resolve
from swift.recipe import Recipe, read
from swift.run.display import Display
from swift.run.folder import claim, clear_partial, finished, moves, told
from swift.run.given import NOTHING, Given


def launch(recipe: Recipe, given: Given = NOTHING) -> Path:
    """Plan `recipe`, carry it out in its run folder and return the last checkpoint.

    One process starts as many workers as the plan asks for. Processes that torchrun started
    already carry the run out together: rank 0 plans, and tells the others.

    Args:
        recipe: What is wished.
        given: Live objects; such a run stays in the processes that are there.

    Raises:
        SwiftError: As the run failed.
    """
    if ranks().world > 1:
        return _together(recipe, given)
    plan = _planned(recipe, 1 if given.any else None, given)
    folder, checkpoint = claim(plan)
    return _carry_out(read_plan(folder), folder, checkpoint, _display(folder), given)


def _planned(recipe: Recipe, world: int | None, given: Given) -> Plan:
    return resolve(recipe, world=world, facts=given.facts, rows=given.rows is not None)


def _display(folder: Path) -> Display:
    display = Display(sys.stderr)
    if (folder / "events.jsonl").exists():
        display.line(f"{folder} holds this very run, unfinished: it goes on")
    return display


def _together(recipe: Recipe, given: Given) -> Path:
    """Be one rank of a run under a torchrun that the user started."""
    from swift.run.train import train
    from swift.run.world import from_rank_zero, joined

    with joined(machine().kind) as here:

        def first() -> bytes:
            plan = _planned(recipe, here.world, given)
            folder, checkpoint = claim(plan, again=_restarted_in(here))
            _remember(here, folder)
            plan = read_plan(folder)
            clear_partial(folder)
            said = (plan.model_dump_json(), str(folder), str(checkpoint or ""))
            return json.dumps(said).encode()

        text, place, checkpoint = json.loads(from_rank_zero(first))
        plan, folder = Plan.model_validate_json(text), Path(place)
        own = _planned(recipe, here.world, given)
        if own.digest != plan.digest:
            raise PlanError(
                Problem(
                    where=f"rank {here.rank}",
                    what="its recipe or model is not that of rank 0",
                    fix="give every process the same files and flags",
                )
            )
        display = Display(sys.stderr) if here.rank == 0 else None
        if display is not None:
            display.line(f"run folder: {folder}")
        start = Path(checkpoint) if checkpoint else None
        try:
            last = train(plan, folder, here, start, display.show if display else _silent, given)
        finally:
            if display is not None:
                display.close()
        if display is not None:
            display.line(f"done: {last}")
        return last


def differs(error: SwiftError) -> None:
    """Be a rank that cannot read its recipe: raise `error` if rank 0 can, else say nothing.

    Where rank 0 fails alike, it says so, and its torchrun ends this process as it waits.
    """
    from swift.run.world import from_rank_zero, joined

    with joined(machine().kind) as here:
        from_rank_zero(lambda: b"")
        first = error.problems[0]
        raise type(error)(
            [replace(first, where=f"rank {here.rank}: {first.where}"), *error.problems[1:]]
        )


def _silent(event: dict[str, Any]) -> None:
    """Show nothing: rank 0 does."""


def _restarted_in(here: Ranks) -> Path | None:
    """Return the run folder of the processes that torchrun starts again, None at first."""
    if not here.restarts:
        return None
    try:
        return Path(_note(here).read_text(encoding="utf-8"))
    except OSError:
        return None


def _remember(here: Ranks, folder: Path) -> None:
    """Keep the name of the run folder for a restart by the same torchrun, where that can be."""
    with suppress(OSError, WriteError):
        _note(here).parent.mkdir(parents=True, exist_ok=True)
        write_text(_note(here), str(folder))


def _note(here: Ranks) -> Path:
    return cache_home() / "elastic" / f"{here.run_id or 'none'}-{here.agent}"


def resume(folder: Path, parallel: Sequence[tuple[str, Any]] = ()) -> Path:
    """Go on with the unfinished run in `folder`; return its last checkpoint.

    Args:
        folder: Of the run, or of a checkpoint of it.
        parallel: Flags of the section `parallel`: the run goes on on other processes.

    Raises:
        PlanError: There is no run, it is finished, or those processes cannot be.
        RecipeError: A flag's value is wrong.
    """
    if folder.name.startswith("checkpoint-") and not (folder / "plan.json").exists():
        folder = folder.parent
    plan = read_plan(folder)
    if finished(folder):
        raise PlanError(Problem(where="--resume", what=f"the run in {folder} is finished"))
    if parallel:
        plan = moved(plan, read(folder / "recipe.yaml", parallel))
        moves(plan, folder)
    return _carry_out(plan, folder, newest(folder), Display(sys.stderr))


def _carry_out(
    plan: Plan, folder: Path, checkpoint: Path | None, display: Display, given: Given = NOTHING
) -> Path:
    display.line(f"run folder: {folder}")
    with told(folder):
        clear_partial(folder)
        for note in plan.notes:
            display.line(f"note: {note}")
        if plan.world == 1:
            from swift.run.train import train

            try:
                last = train(plan, folder, ranks(), checkpoint, display.show, given)
            finally:
                display.close()
        else:
            last = _torchrun(plan, folder, display)
    display.line(f"done: {last}")
    return last


def _torchrun(plan: Plan, folder: Path, display: Display) -> Path:
    """Start one worker a rank; show the run by reading its events; pass signals on.

    The workers' own output goes to launch.log in the run folder.
    """
    with locked(folder / ".lock"):
        pass  # else another process is at work here, and is named
    # Tied: workers that nobody watches any more would train on.
    command = [sys.executable, "-P", "-m", "swift.run.tied", str(os.getpid())]
    command += ["torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={plan.world}", "-m", "swift.run.worker", str(folder)]
    seen = sum(1 for _ in read_events(folder / "events.jsonl"))
    log = folder / "launch.log"
    with log.open("a", encoding="utf-8") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=out, start_new_session=True, env=guarded_environment()
        )
        try:
            seen = _follow(child, folder, seen, display)
        except KeyboardInterrupt:
            display.line("stopping after this step …")
            child.terminate()
            seen = _follow(child, folder, seen, display)
        finally:
            display.close()
            if child.poll() is None:
                child.kill()
    return _outcome(folder, log, plan)


def _follow(child: subprocess.Popen[bytes], folder: Path, seen: int, display: Display) -> int:
    alive = True
    while alive:
        alive = child.poll() is None
        events = list(read_events(folder / "events.jsonl"))
        for event in events[seen:]:
            display.show(event)
        seen = len(events)
        time.sleep(0.2 if alive else 0)
    return seen


def _outcome(folder: Path, log: Path, plan: Plan) -> Path:
    """Return the last checkpoint, or raise what the end of events.jsonl says."""
    end = {"reason": "failed"}
    for event in read_events(folder / "events.jsonl"):
        end = event if event["event"] == "end" else {"reason": "failed"}
    last = newest(folder)
    if end["reason"] == "finished" and last is not None:
        return last
    if end["reason"] == "interrupted":
        raise Interrupted(
            Problem(
                what="stopped as asked; the work is saved",
                fix=f"go on with: swift train --resume {folder}",
            )
        )
    kind = {3: MachineError, 4: TrainingError, 2: PlanError}.get(int(end.get("exit_code", 1)))
    text = end.get("error", f"a worker ended early; the reason stands in {log}")
    raise (kind or MachineError)(Problem(what=text, where=str(folder)))
