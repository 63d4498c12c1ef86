"""A disk that takes no more while a checkpoint is written: said in words, nothing is half there."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from swift.checkpoint import checkpoints


def small_files() -> None:
    """Let no file of this process grow beyond 100 kB, as a full disk would."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_checkpoint_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    words = [sys.executable, "-P", "-m", "swift", "sft", "--model", "nano", "--max_steps", "2"]
    done = subprocess.run(
        [*words, "--dataset", "nano-orders#40", "--output_dir", str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert "the checkpoint cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoints(tmp_path / "run") == []
