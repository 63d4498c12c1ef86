"""How the user's shell calls this very command, for commands that we show to be copied."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def program() -> str:
    """Return "swift" where PATH leads to this one, else its place: ".venv/bin/swift"."""
    here = Path(sys.executable).with_name("swift")
    found = shutil.which("swift")
    if found and here.exists() and Path(found).samefile(here):
        return "swift"
    if not here.exists():
        return f"{sys.executable} -m swift"
    near = os.path.relpath(here)
    return near if not near.startswith("..") else str(here)
