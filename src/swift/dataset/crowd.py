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
from typing import TYPE_CHECKING

from swift.core.env import child_environment
from swift.core.errors import MachineError, Problem
from swift.core.machine import cores
from swift.dataset.cut import Cut, Texts, Way, cut

if TYPE_CHECKING:
    from typing import IO

ALONE = 40
"""Chunks that one process does before others are worth their start."""

MOST = 7
"""Processes that are started unasked: one process reads for all, and feeds no more than these."""

_AHEAD = 4
"""Chunks given to each process before they are done, so that none waits for the next."""

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
    """Yield what `processes` make, this one among them: it reads, and helps when all are busy."""
    children = [_Child(way) for _ in range(processes - 1)]
    under_way: deque[tuple[Texts, Future[Cut]]] = deque()
    try:
        for chunk, error in _with_error(first, chunks):
            if chunk is not None:
                child = min(children, key=lambda child: child.waiting)
                busy = child.waiting >= _AHEAD
                under_way.append((chunk, _here(chunk, way) if busy else child.ask(chunk)))
            while under_way and (error or _due(under_way, processes)):
                begun, made = under_way.popleft()
                yield begun, made.result()
            if error is not None:
                raise error
        for begun, made in under_way:
            yield begun, made.result()
    finally:
        for child in children:
            child.end()


def _here(chunk: Texts, way: Way) -> Future[Cut]:
    made: Future[Cut] = Future()
    made.set_result(cut(chunk, way))
    return made


def _due(under_way: deque[tuple[Texts, Future[Cut]]], processes: int) -> bool:
    """Return whether the first chunk is done, or so many are kept behind it that it is awaited."""
    return under_way[0][1].done() or len(under_way) > 4 * _AHEAD * processes


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
    """A process that tokenises: it has its next chunk before it gives the last one back."""

    def __init__(self, way: Way) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
            pipesize=1 << 20,
            process_group=0,  # Ctrl+C is the caller's, which ends it
        )
        self._sends, self._gets = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._asked: list[Future[Cut]] = []
        self._sends.submit(self._send, way)

    @property
    def waiting(self) -> int:
        """How many chunks it was asked for and has not given back."""
        self._asked = [made for made in self._asked if not made.done()]
        return len(self._asked)

    def ask(self, chunk: Texts) -> Future[Cut]:
        """Return the tokens of a chunk, later; they raise MachineError if the process died."""
        sent = self._sends.submit(self._send, chunk._replace(origins=[], keys=[]))
        made = self._gets.submit(self._got, sent)
        self._asked.append(made)
        return made

    def _send(self, said: Texts | Way) -> None:
        assert self._process.stdin is not None
        pickle.dump(said, self._process.stdin, protocol=5)
        self._process.stdin.flush()

    def _got(self, sent: Future[None]) -> Cut:
        assert self._process.stdout is not None
        try:
            sent.result()
            answer = pickle.load(self._process.stdout)
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
        for threads in (self._sends, self._gets):
            threads.shutdown(cancel_futures=True)
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
