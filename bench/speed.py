"""Training speed and memory beside a hand-written loop, in pairs.

    python bench/speed.py --floor PATH     # the folder with make.py, sft.py, imports.py

Each figure is the median of the ratios ours / floor over pairs run in turn, one compute thread,
CPU seconds. Same rows and batches: file order, no buckets; then our defaults on the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

STEPS, BATCH, SKIP = 50, 4, 3
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Done:
    step_s: float
    """CPU seconds a step."""
    first_s: float
    """CPU seconds of the process up to the end of its first step."""
    peak_mb: float


def run(command: list[str]) -> tuple[str, float, float]:
    """Return (output, CPU seconds, peak resident MB) of a process."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        _, status, usage = os.wait4(child.pid, 0)
        out.seek(0)
        text = out.read()
    if status:
        raise SystemExit(f"{' '.join(command)}\n{text}")
    return text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def floor_run(floor: Path, model: Path, data: Path) -> Done:
    words = [sys.executable, str(floor / "sft.py"), "--model", str(model), "--data", str(data)]
    text, _, peak = run([*words, "--steps", str(STEPS), "--batch", str(BATCH)])
    cpu = [json.loads(line)["cpu_s"] for line in text.splitlines() if line.startswith("{")]
    return Done((cpu[-1] - cpu[SKIP - 1]) / (len(cpu) - SKIP), cpu[0], peak)


def our_run(model: Path, data: Path, *options: str) -> Done:
    folder = Path(tempfile.mkdtemp()) / "run"
    words = [sys.executable, "-m", "swift", "sft", "--model", str(model), "--dataset", str(data)]
    words += ["--output_dir", str(folder), "--batch_size", str(BATCH)]
    if "--max_steps" not in options:
        words += ["--epochs", "1"]
    words += ["--micro_batch_size", str(BATCH), "--learning_rate", "1e-4", "--save_every", "0"]
    words += ["--tuner", "{name: lora, rank: 8, alpha: 32}", "--schedule", "constant"]
    _, _, peak = run([*words, "--warmup", "0", *options])
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    steps = [e for e in events if e["event"] == "step"]
    shutil.rmtree(folder.parent)
    late = [e["cpu_s"] for e in steps[SKIP:]]
    return Done(sum(late) / max(1, len(late)), steps[0]["process_cpu_s"], peak)


def ratio(name: str, goal: float, pairs: list[tuple[float, float]]) -> str:
    values = sorted(a / b for a, b in pairs)
    middle = statistics.median(values)
    verdict = "holds" if middle <= goal else "MISSED"
    ours, theirs = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    return (
        f"| {name} | {middle:.3f} | {values[0]:.3f} to {values[-1]:.3f} | {goal} | {verdict} "
        f"| {ours:.3f} / {theirs:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("bench/out/floor"))
    parser.add_argument("--pairs", type=int, default=7)
    asked = parser.parse_args()
    if not (asked.work / "sft2k.jsonl").exists():
        run([sys.executable, str(asked.floor / "make.py"), str(asked.work)])
    model, data = asked.work / "tiny", asked.work / "sft2k.jsonl"
    few = asked.work / f"sft{STEPS * BATCH}.jsonl"
    few.write_text("".join(data.read_text().splitlines(keepends=True)[: STEPS * BATCH]))
    order = ("--shuffle", "false", "--bucket", "false")
    same: list[tuple[Done, Done]] = []
    buckets: list[tuple[Done, Done]] = []
    start: list[tuple[float, float]] = []
    for _ in range(asked.pairs):
        theirs = floor_run(asked.floor, model, few)
        same.append((our_run(model, few, *order), theirs))
        buckets.append((our_run(model, few), floor_run(asked.floor, model, few)))
        first = our_run(model, data, "--max_steps", "1").first_s
        start.append((first, run([sys.executable, str(asked.floor / "imports.py")])[1]))
    print("| figure | median ratio | range | goal | | ours / floor |\n|---|---|---|---|---|---|")
    print(ratio("CPU s a step, same batches", 1.08, [(a.step_s, b.step_s) for a, b in same]))
    print(ratio("CPU s a step, defaults", 0.95, [(a.step_s, b.step_s) for a, b in buckets]))
    print(ratio("peak MB, same batches", 1.1, [(a.peak_mb, b.peak_mb) for a, b in same]))
    print(ratio("CPU s to the first step / imports.py", 1.17, start))


if __name__ == "__main__":
    main()
