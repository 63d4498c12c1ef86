"""Two trainings beside each other, ours and TRL's, each in its own process: what benches share."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

PLAIN = {
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
}
"""Options of TRL's trainers that ours has as well, or that cost it nothing."""

Side = Callable[..., dict[str, float]]
"""Trains and returns figures, `cpu_s` among them; its last argument is an empty folder."""


def cpu_s() -> float:
    """Return user + system seconds of this process and the children it has waited for."""
    return sum(os.times()[:4])


def steps_of(run: str) -> list[dict[str, float]]:
    """Return the step events of a run of ours."""
    lines = Path(run, "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] == "step"]


def is_side(sides: Mapping[str, Side]) -> bool:
    """Be one side, where the command line says so: print its figures."""
    if sys.argv[1:2] not in ([name] for name in sides):
        return False
    print(json.dumps(sides[sys.argv[1]](*sys.argv[2:])))
    return True


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the options that all have."""
    made = argparse.ArgumentParser(description=doc)
    made.add_argument("--floor", type=Path, required=True)
    made.add_argument("--work", type=Path, default=Path("bench/out/floor"))
    made.add_argument("--tuner", choices=("full", "lora"), default="full")
    made.add_argument("--pairs", type=int, default=5)
    return made


def pairs_of_rows(asked: argparse.Namespace) -> Path:
    """Return the file of preference rows, made if it is not there."""
    path = Path(asked.work) / "pref500.jsonl"
    if not path.exists():
        subprocess.run([sys.executable, str(asked.floor / "make.py"), str(asked.work)], check=True)
    return path


def compare(file: str, words: Sequence[str], pairs: int, what: str, goal: float) -> None:
    """Run both sides in turn, and print the ratios of their CPU seconds."""
    ratios = []
    for _ in range(pairs):
        pair = {side: _run(file, side, words) for side in ("theirs", "ours")}
        print(json.dumps(pair), flush=True)
        ratios.append(pair["ours"]["cpu_s"] / pair["theirs"]["cpu_s"])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}; goal {goal}"
    print(f"\nCPU s of {what}, ours / TRL's: {statistics.median(ratios):.2f} ({spread})")


def _run(file: str, side: str, words: Sequence[str]) -> dict[str, float]:
    """Return what a process prints as its last line."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, file, side, *words, folder],
            env={**ENVIRONMENT, "SWIFT_CACHE": f"{folder}/cache"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
