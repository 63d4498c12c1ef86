"""Training tokens per CPU second: packed, end to end, in buckets, in the file's order.

    python bench/packing.py --floor PATH     # the folder with make.py

The same rows and the same model, one compute thread, each way in turn; medians of ratios to the
padded rows in the file's order, and to buckets.
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
from pathlib import Path

SKIP = 3
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
WAYS: dict[str, tuple[str, ...]] = {
    "file order": ("--bucket", "false", "--shuffle", "false", "--batch_size", "8"),
    "buckets": ("--batch_size", "8"),
    "end to end": ("--padding_free", "true", "--batch_size", "8"),
    "packed": ("--packing", "true", "--max_length", "1024", "--batch_size", "2"),
}


def speed(model: Path, data: Path, *options: str) -> float:
    """Return tokens per CPU second of the steps after the first few."""
    folder = Path(tempfile.mkdtemp()) / "run"
    words = [sys.executable, "-m", "swift", "sft", "--model", str(model), "--dataset", str(data)]
    words += ["--output_dir", str(folder), "--epochs", "1", "--save_every", "0", "--warmup", "0"]
    words += ["--tuner", "{name: lora, rank: 8, alpha: 32}", "--schedule", "constant"]
    if "--packing" not in options:
        words += ["--micro_batch_size", "8"]
    subprocess.run([*words, *options], env=ENVIRONMENT, check=True, capture_output=True)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    steps = [e for e in events if e["event"] == "step"][SKIP:]
    shutil.rmtree(folder.parent)
    return float(sum(e["tokens"] for e in steps) / sum(e["cpu_s"] for e in steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("bench/out/floor"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    if not (asked.work / "sft2k.jsonl").exists():
        subprocess.run([sys.executable, str(asked.floor / "make.py"), str(asked.work)], check=True)
    rows = (asked.work / "sft2k.jsonl").read_text().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "rows.jsonl"
        data.write_text("".join(rows[: asked.rows]))
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(asked.pairs):
            for way, options in WAYS.items():
                found[way].append(speed(asked.work / asked.model, data, *options))
    print("| way | tokens / CPU s | beside file order | beside buckets |\n|---|---|---|---|")
    for way, values in found.items():
        ratios = [
            statistics.median(a / b for a, b in zip(values, found[other], strict=True))
            for other in ("file order", "buckets")
        ]
        print(f"| {way} | {statistics.median(values):,.0f} | {ratios[0]:.3f} | {ratios[1]:.3f} |")


if __name__ == "__main__":
    main()
