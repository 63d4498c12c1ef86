"""A command that ends when the process that started it dies, however that dies.

    python -P -m swift.run.tied PARENT swift serve runs/x --port 0

On Linux the kernel sends SIGTERM to it then; elsewhere it is a plain command.
-P: code is not imported from the folder that the command happens to be given in.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG; it outlives execv."""


def main(words: list[str]) -> None:
    """Become `python -P -m` the words after the first, which is the process id of the parent."""
    parent, *command = words
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() == int(parent):  # else it died before the line above
        os.execv(sys.executable, [sys.executable, "-P", "-m", *command])


if __name__ == "__main__":
    main(sys.argv[1:])
