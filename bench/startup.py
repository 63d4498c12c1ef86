"""CPU seconds of the command line's first answers, as multiples of what Python itself takes.

python bench/startup.py [--runs 15]: the median of runs in turn, one thread, user + system time.
Modules are compiled before, as an installed package's are.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BAD = """\
modle: nano
model: {id: nano, dtype: float31}
dataset: [nano-orders, {nam: mine.jsonl}]
data: {max_length: 0}
tuner: {name: lora, rnak: 8, alpha: x}
method: dop
train:
  epochs: 3
  epochs: 4
  batch_size: 7
  micro_batch_size: 2
  gradient_accumulation_steps: 2
  num_train_epochs: 1
optimizer: {betas: [0.9]}
parallel: {strategy: zero}
"""


def cpu_s(command: list[str], folder: str) -> float:
    """Return user + system seconds of `command` and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(command, cwd=folder, env=env, check=False, **quiet)  # type: ignore[call-overload]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a table: CPU s, and the multiple of the process it is measured against."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    python = [sys.executable, "-c"]
    script = Path(sys.executable).with_name("swift")
    swift = [str(script)] if script.exists() else [sys.executable, "-m", "swift"]
    rows = {
        "python -c pass": ([*python, "pass"], ""),
        "import pydantic, ruamel.yaml": ([*python, "import pydantic, ruamel.yaml"], ""),
        "swift --help": ([*swift, "--help"], "python -c pass"),
        "swift --version": ([*swift, "--version"], "python -c pass"),
        "swift sft --help": ([*swift, "sft", "--help"], "import pydantic, ruamel.yaml"),
        "swift sft bad.yaml": ([*swift, "sft", "bad.yaml"], "import pydantic, ruamel.yaml"),
        "swift runs": ([*swift, "runs"], "python -c pass"),
        "swift env": ([*swift, "env"], "python -c pass"),
        "swift list models": ([*swift, "list", "models"], "python -c pass"),
        "swift list models --count": ([*swift, "list", "models", "--count"], "python -c pass"),
        "swift show qwen-7b": ([*swift, "show", "qwen-7b"], "python -c pass"),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bad.yaml").write_text(BAD)
        taken: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(runs + 1):
            for name, (command, _base) in rows.items():
                seconds = cpu_s(command, folder)
                if turn:  # the first one compiles
                    taken[name].append(seconds)
    for name, (_command, base) in rows.items():
        seconds = statistics.median(taken[name])
        ratios = [a / b for a, b in zip(taken[name], taken[base], strict=True)] if base else [1.0]
        print(
            f"{name:<30} {seconds:6.3f} s  {statistics.median(ratios):5.2f} x {base}".rstrip(" x")
        )


if __name__ == "__main__":
    main()
