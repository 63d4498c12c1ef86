"""What this machine has, found without importing torch."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from swift.core.env import visible_gpus


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Devices of this machine."""

    gpus: int = 0
    """CUDA devices that this process may see."""

    names: tuple[str, ...] = ()
    bfloat16: bool = False
    """Whether the devices compute in bfloat16 (compute capability 8.0 and above)."""


@cache
def machine() -> Machine:
    """Return this machine's devices by asking nvidia-smi; none where it is missing or silent."""
    if shutil.which("nvidia-smi") is None:
        return Machine()
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return Machine()
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
    # A capability is "9.0"; old drivers say "[N/A]".
    capable = [
        cap.strip().partition(".")[0].isdecimal() and int(float(cap)) >= 8 for _, cap in rows
    ]
    return Machine(
        gpus=visible_gpus(len(rows)),
        names=tuple(name.strip() for name, _ in rows),
        bfloat16=bool(rows) and all(capable),
    )
