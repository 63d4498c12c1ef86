"""Chunks of texts given to several processes, and their tokens in the order of the chunks.

A process of ours is a plain child with two pipes: it needs neither the caller's main module nor a
guard in it, ends when its caller is gone, and is missed at once when it dies.
"""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING

from swift.core.env import child_environment
from swift.core.errors import MachineError, Problem
from swift.core.machine import cores
from swift.dataset.cut import Cut, Texts, Way, cut

if TYPE_CHECKING:
    from typing import IO

ALONE = 20
"""Chunks that one process does before others are worth their start."""

MOST = 6
"""Processes that are started unasked: one process reads for all, and feeds no more than these."""

_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_CHILD += "from swift.dataset.crowd import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"

Done = Iterator[tuple[Texts, Cut]]


def in_order(chunks: Iterator[Texts], way: Way, processes: int | None) -> Done:
    """Yield each chunk with its tokens.

    Args:
        chunks: What they raise is raised after the chunks before it were yielded.
        way: How texts become tokens.
        processes: How many; None: one for the first chunks, then as many as there are cores.

    Raises:
        MachineError: A process dies.
    """
    if processes is None:
        for chunk in islice(chunks, ALONE):
            yield chunk, cut(chunk, way)
        processes = min(cores(), MOST)
    if processes == 1:
        yield from ((chunk, cut(chunk, way)) for chunk in chunks)
        return
    first = next(chunks, None)
    if first is not None:
        yield from _crowd(first, chunks, way, processes)


def _crowd(first: Texts, chunks: Iterator[Texts], way: Way, processes: int) -> Done:
    children = [_Child(way) for _ in range(processes)]
    free: SimpleQueue[_Child] = SimpleQueue()
    for child in children:
        free.put(child)

    def asked(chunk: Texts) -> Cut:
        child = free.get()
        try:
            return child.ask(chunk)
        finally:
            free.put(child)

    pool = ThreadPoolExecutor(processes)
    under_way: deque[tuple[Texts, Future[Cut]]] = deque()
    try:
        for chunk, error in _with_error(first, chunks):
            if chunk is not None:
                under_way.append((chunk, pool.submit(asked, chunk)))
            while under_way and (error or len(under_way) > 2 * processes):
                begun, made = under_way.popleft()
                yield begun, made.result()
            if error is not None:
                raise error
        for begun, made in under_way:
            yield begun, made.result()
    finally:
        for child in children:
            child.end()
        pool.shutdown(cancel_futures=True)


def _with_error(
    first: Texts, chunks: Iterable[Texts]
) -> Iterator[tuple[Texts | None, Exception | None]]:
    """Yield the chunks, and at the end what was raised instead of one."""
    yield first, None
    try:
        for chunk in chunks:
            yield chunk, None
    except Exception as error:
        yield None, error


class _Child:
    """A process that tokenises."""

    def __init__(self, way: Way) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
            pipesize=1 << 20,
            process_group=0,  # Ctrl+C is the caller's, which ends it
        )
        self._way: Way | None = way

    def ask(self, chunk: Texts) -> Cut:
        """Return the tokens of a chunk; one at a time.

        Raises:
            MachineError: The process died.
        """
        sent, got = self._process.stdin, self._process.stdout
        assert sent is not None
        assert got is not None
        try:
            if self._way is not None:
                pickle.dump(self._way, sent, protocol=5)
                self._way = None
            pickle.dump(chunk._replace(origins=[], keys=[]), sent, protocol=5)
            sent.flush()
            answer = pickle.load(got)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise self._dead() from error
        if isinstance(answer, Exception):
            raise answer
        made: Cut = answer
        return made

    def _dead(self) -> MachineError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode or 0
        how = f"with code {code}"
        if code < 0:
            how = f"by {signal.Signals(-code).name}"
        what = f"one of the processes that tokenise was ended {how}"
        fix = "start again, with data.num_proc: 1 if the memory was short"
        return MachineError(Problem(where="data.num_proc", what=what, fix=fix))

    def end(self) -> None:
        """End the process, whatever it is at."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer chunks with tokens until there are no more, or nobody reads them."""
    with suppress(EOFError, BrokenPipeError):
        way: Way = pickle.load(asked)
        while True:
            chunk: Texts = pickle.load(asked)
            try:
                answer: Cut | Exception = cut(chunk, way)
            except Exception as error:
                answer = error
            pickle.dump(answer, answers, protocol=5)
            answers.flush()
