"""Expressions, compared by math-verify in a process that is ended when it takes too long.

sympy can be kept busy for hours by a line of text, and cannot be interrupted within one operation.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

from swift.core.env import child_environment, guarded_environment

START = 60.0
"""Seconds that the process may take to begin: it imports sympy."""

LONGEST = 1000
"""Characters of an expression; longer ones are not equal to anything."""


async def proved(pairs: Sequence[tuple[str, str]], seconds: float) -> list[bool]:
    """Return of each (answer, solution) whether they are the same expression.

    Args:
        pairs: Of which no text needs to be an expression.
        seconds: Time of one pair; after that it is False, and a new process takes the next.
    """
    found: list[bool] = []
    while len(found) < len(pairs):
        process = await _started()
        try:
            found += await _asked(process, pairs[len(found) :], seconds)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # else its pipes stay open
    return found


async def _started() -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "swift.reward._prover",
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={**child_environment(), **guarded_environment(), "OMP_NUM_THREADS": "1"},
    )


async def _asked(process: Process, pairs: Sequence[tuple[str, str]], seconds: float) -> list[bool]:
    """Return what the process says of pair after pair; after a silence, one False more."""
    assert process.stdin is not None and process.stdout is not None
    if await _line(process.stdout, START) is None:
        return [False] * len(pairs)
    found = []
    for said, truth in pairs:
        if max(len(said), len(truth)) > LONGEST:
            found.append(False)
            continue
        with suppress(ConnectionError):
            process.stdin.write(json.dumps([said, truth]).encode() + b"\n")
            await process.stdin.drain()
        line = await _line(process.stdout, seconds)
        found.append(line == b"1\n")
        if line is None:
            break
    return found


async def _line(stream: asyncio.StreamReader, seconds: float) -> bytes | None:
    """Return the next line; None where none came in time, or none will."""
    try:
        async with asyncio.timeout(seconds):
            return await stream.readline() or None
    except TimeoutError:
        return None
