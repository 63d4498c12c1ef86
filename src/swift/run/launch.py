"""From a plan to processes: this one, or several under torchrun, and their display."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from swift.checkpoint import newest
from swift.core.env import ranks
from swift.core.errors import Interrupted, MachineError, PlanError, Problem, TrainingError
from swift.core.events import read_events
from swift.plan import Plan, read_plan
from swift.run.display import Display
from swift.run.folder import claim, clear_partial, finished


def launch(plan: Plan) -> int:
    """Carry out `plan` in its run folder and return the exit code.

    Raises:
        SwiftError: As the run failed.
    """
    if ranks().world > 1:
        raise PlanError(
            Problem(
                what=f"started as one of {ranks().world} processes, but swift starts its own",
                fix=f"swift … --nproc_per_node {ranks().world}, without torchrun",
            )
        )
    folder, checkpoint = claim(plan)
    display = Display(sys.stderr)
    if (folder / "events.jsonl").exists():
        display.line(f"{folder} holds this very run, unfinished: it goes on")
    return _carry_out(read_plan(folder), folder, checkpoint, display)


def resume(folder: Path) -> int:
    """Go on with the unfinished run in `folder`.

    Raises:
        PlanError: There is no run, or it is finished.
    """
    if folder.name.startswith("checkpoint-") and not (folder / "plan.json").exists():
        folder = folder.parent
    plan = read_plan(folder)
    if finished(folder):
        raise PlanError(Problem(where="--resume", what=f"the run in {folder} is finished"))
    return _carry_out(plan, folder, newest(folder), Display(sys.stderr))


def _carry_out(plan: Plan, folder: Path, checkpoint: Path | None, display: Display) -> int:
    display.line(f"run folder: {folder}")
    clear_partial(folder)
    for note in plan.notes:
        display.line(f"note: {note}")
    if plan.world == 1:
        from swift.run.train import train

        try:
            last = train(plan, folder, ranks(), checkpoint, display.show)
        finally:
            display.close()
    else:
        last = _torchrun(plan, folder, display)
    display.line(f"done: {last}")
    return 0


def _torchrun(plan: Plan, folder: Path, display: Display) -> Path:
    """Start one worker a rank; show the run by reading its events; pass signals on.

    The workers' own output goes to launch.log in the run folder.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={plan.world}", "-m", "swift.run.worker", str(folder)]
    seen = sum(1 for _ in read_events(folder / "events.jsonl"))
    log = folder / "launch.log"
    with log.open("a", encoding="utf-8") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
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
