"""Rows to tokens beside the tokenizer alone: CPU seconds, two processes, the cache, memory.

    python bench/encode.py --floor PATH [--pairs 5]    # the folder with make.py and encode.py
    python bench/encode.py --floor PATH --many 1000000 # one run of that many rows: memory

Ours is `prepare` of a plan: reading, formats, the template, tokens, marks, truncation, and writing
the cache; imports apart. One thread; the first run with an empty cache, the second with what the
first wrote. Two processes are compared with one by the wall clock, best of all pairs, reading and
encoding alone, both from an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def cpu_s() -> float:
    """Return user + system seconds of this process and the children it has waited for."""
    return sum(os.times()[:4])


def child(model: str, data: str, processes: int) -> None:
    """Prepare a plan's rows and print what it took, as JSON."""
    import resource

    from swift.plan import resolve
    from swift.recipe import read
    from swift.run.data import prepare

    said = [("model", model), ("dataset", data), ("data.num_proc", processes)]
    plan = resolve(read(None, said, "sft"))
    wall, begun = time.perf_counter(), cpu_s()
    made = prepare(plan, lambda kind, **fields: None)
    found = {
        "cpu_s": round(cpu_s() - begun, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "rows": len(made.train),
        "tokens": int(made.train.lengths.sum()),
        "fingerprint": made.fingerprint,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(found))


def run(words: list[str], cache: str = "") -> dict[str, float]:
    """Return what a process prints as its last line."""
    environment = {**ENVIRONMENT, **({"SWIFT_CACHE": cache} if cache else {})}
    done = subprocess.run(
        [sys.executable, *words], env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(model: Path, data: Path, cache: str, processes: int = 1) -> dict[str, float]:
    return run([__file__, "child", str(model), str(data), str(processes)], cache)


def row(name: str, values: list[float], goal: str, holds: bool) -> str:
    middle = statistics.median(values)
    around = f"{min(values):.2f} to {max(values):.2f}"
    return f"| {name} | {middle:.2f} | {around} | {goal} | {'holds' if holds else 'MISSED'} |"


def beside(floor: Path, model: Path, data: Path, pairs: int) -> None:
    """Print the table of pairs."""
    ratios, second, alone, two = [], [], [], []
    for _ in range(pairs):
        words = ["--model", str(model), "--data", str(data)]
        theirs = run([str(floor / "encode.py"), *words])
        with tempfile.TemporaryDirectory() as cache:
            first = ours(model, data, cache)
            again = ours(model, data, cache)
        with tempfile.TemporaryDirectory() as cache:
            both = ours(model, data, cache, 2)
        assert first["fingerprint"] == again["fingerprint"] == both["fingerprint"]
        print(json.dumps({"floor": theirs, "first": first, "second": again, "two": both}))
        ratios.append(first["cpu_s"] / theirs["cpu_s"])
        second.append(again["cpu_s"])
        alone.append(first["wall_s"])
        two.append(both["wall_s"])
    print("\n| figure | median | range | goal | |\n|---|---|---|---|---|")
    print(row("CPU s, ours / floor", ratios, "1.4", statistics.median(ratios) <= 1.4))
    print(row("CPU s from the cache", second, "1", statistics.median(second) <= 1))
    faster = min(alone) / min(two)
    print(row("wall s, one / two processes, best", [faster], "1.8", faster >= 1.8))


def many(model: Path, data: Path, count: int) -> None:
    """Print what a run of `count` rows takes; each row is told apart from its like."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.jsonl"
        lines = data.read_text(encoding="utf-8").splitlines()
        with path.open("w", encoding="utf-8") as file:
            for number in range(count):
                text = lines[number % len(lines)].replace('"content": "', f'"content": "{number} ')
                file.write(text + "\n")
        print(json.dumps(ours(model, path, f"{folder}/cache")))


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("bench/out/floor"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--many", type=int, default=0)
    asked = parser.parse_args()
    if not (asked.work / "sft100k.jsonl").exists():
        subprocess.run([sys.executable, str(asked.floor / "make.py"), str(asked.work)], check=True)
    model, data = asked.work / "small", asked.work / "sft100k.jsonl"
    if asked.many:
        many(model, data, asked.many)
    else:
        beside(asked.floor, model, data, asked.pairs)


if __name__ == "__main__":
    main()
