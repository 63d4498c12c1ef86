"""The process that compares expressions: a line [answer, solution] in, a line 1 or 0 out."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

_MEMORY = 4 << 30
"""Bytes of address space: a power of a power fills any memory before it takes much time."""


def main() -> None:
    """Answer until nothing more comes in."""
    _frugal()
    import math_verify

    _say("ready")
    for line in sys.stdin:
        said, truth = json.loads(line)
        _say("1" if _same(math_verify, said, truth) else "0")


def _same(math_verify: Any, said: str, truth: str) -> bool:
    """Return whether math-verify calls them the same; whatever it stumbles over is not."""
    try:
        # None: no time-outs of its own, which are signals, and leave sympy in the middle of things
        parsed = [math_verify.parse(f"${text}$", parsing_timeout=None) for text in (truth, said)]
        return bool(all(parsed) and math_verify.verify(*parsed, timeout_seconds=None))
    except Exception:
        return False


def _frugal() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
