"""Chunks of texts given to several processes, and their tokens in the order of the chunks.

A process of ours is a plain child with two pipes: it needs neither the caller's main module nor a
guard in it, ends when its caller is gone, and is missed at once when it dies.
"""

from __future__ import annotations

import fcntl
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
"""Processes at work unasked, this one among them: it reads for all, and feeds no more."""

_AHEAD = 4
"""Chunks given to each process before they are done, so that none waits for the next."""

_PIPE = 1 << 20
"""Bytes that a pipe holds, where the system allows it."""

# What a library prints there would be read as tokens; and nothing is left to be said at the end.
_CHILD = "import json, os, sys; sys.path[:] = json.loads(sys.argv[1]); "
_CHILD += "from swift.dataset.crowd import serve; answers = sys.stdout.buffer; "
_CHILD += "sys.stdout = sys.stderr; serve(sys.stdin.buffer, answers); os._exit(0)"

Done = Iterator[tuple[Texts, Cut]]


def in_order(chunks: Iterator[Texts], way: Way, processes: int | None) -> Done:
    """Yield each chunk with its tokens; of one that was given away the texts are let go of.

    Args:
        chunks: What they raise is raised after the chunks before it were yielded.
        way: How texts become tokens.
        processes: How many; None: one for the first chunks, then as many as there are cores. Where
            fewer can be started, fewer do it.

    Raises:
        MachineError: A process dies.
    """
    if processes is None:
        for chunk in islice(chunks, ALONE):
            yield chunk, cut(chunk, way)
        processes = min(cores(), MOST)
    first = next(chunks, None) if processes > 1 else None
    if first is not None:
        yield from _crowd(first, chunks, way, processes)
    else:
        yield from ((chunk, cut(chunk, way)) for chunk in chunks)


def _crowd(first: Texts, chunks: Iterator[Texts], way: Way, processes: int) -> Done:
    """Yield what `processes` make, this one among them: it reads, and helps when all are busy."""
    children: list[_Child] = []
    under_way: deque[tuple[Texts, Future[Cut]]] = deque()
    try:
        _begin(children, way, processes - 1)
        for chunk, error in _with_error(first, chunks):
            if chunk is not None:
                child = min(children, key=lambda child: child.waiting, default=None)
                busy = child is None or child.waiting >= _AHEAD
                made = _here(chunk, way) if child is None or busy else child.ask(chunk)
                under_way.append((chunk._replace(texts=[], spans=[]), made))
            while under_way and (error or _due(under_way, processes)):
                begun, made = under_way.popleft()
                yield begun, made.result()
            if error is not None:
                raise error
        while under_way:
            begun, made = under_way.popleft()
            yield begun, made.result()
    finally:
        for child in children:  # all, before any is waited for: a second Ctrl+C may come
            child.kill()
        for child in children:
            child.end()


def _begin(children: list[_Child], way: Way, count: int) -> None:
    """Start `count` children, or as many as the machine has room for."""
    for _ in range(count):
        try:
            child = _Child()
        except OSError:
            return
        children.append(child)
        child.greet(way)


def _here(chunk: Texts, way: Way) -> Future[Cut]:
    made: Future[Cut] = Future()
    try:
        made.set_result(cut(chunk, way))
    except Exception as error:  # raised in its turn, after the chunks before it
        made.set_exception(error)
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

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, json.dumps([*map(str, sys.path)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
            process_group=0,  # Ctrl+C is the caller's, which ends it
        )
        self._sends, self._gets = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._asked: list[Future[Cut]] = []
        self._greeted: Future[None] = Future()
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(pipe)

    def greet(self, way: Way) -> None:
        """Say how texts become tokens, once and first."""
        self._greeted = self._sends.submit(self._send, way)

    @property
    def waiting(self) -> int:
        """How many chunks it was asked for and has not given back."""
        self._asked = [made for made in self._asked if not made.done()]
        return len(self._asked)

    def ask(self, chunk: Texts) -> Future[Cut]:
        """Return the tokens of a chunk, later; they raise MachineError if the process died."""
        sent = self._sends.submit(self._send, Texts(chunk.texts, chunk.spans, [], chunk.ended, []))
        made = self._gets.submit(self._got, sent)
        self._asked.append(made)
        return made

    def _send(self, said: Texts | Way) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps(said, protocol=5))  # whole, or nothing of it
        self._process.stdin.flush()

    def _got(self, sent: Future[None]) -> Cut:
        assert self._process.stdout is not None
        try:
            self._greeted.result()
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
        what = f"one of the processes that tokenise was ended {_how(self._process.returncode)}"
        fix = "start again, with data.num_proc: 1 if the memory was short"
        return MachineError(Problem(where="data.num_proc", what=what, fix=fix))

    def kill(self) -> None:
        """End the process, whatever it is at; what waits for its pipes then waits no more."""
        self._process.kill()

    def end(self) -> None:
        """End the process, its threads and its pipes."""
        self.kill()
        self._process.wait()
        for threads in (self._sends, self._gets):
            threads.shutdown(cancel_futures=True)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold whole chunks, where the system knows how and this user may."""
    if sys.platform == "linux" and pipe is not None:
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _how(code: int | None) -> str:
    """Return how a process ended: by which signal, or with which code."""
    if code is None or code >= 0:
        return f"with code {code or 0}"
    with suppress(ValueError):  # of a signal without a name
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer chunks with tokens until there are no more, or nobody reads them."""
    # A chunk that breaks off is of a caller that was killed.
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
        way: Way = pickle.load(asked)
        while True:
            chunk: Texts = pickle.load(asked)
            answers.write(_answer(chunk, way))
            answers.flush()


def _answer(chunk: Texts, way: Way) -> bytes:
    """Return a chunk's tokens, or what was raised, as bytes that can be read."""
    try:
        return pickle.dumps(cut(chunk, way), protocol=5)
    except Exception as error:
        with suppress(Exception):
            said = pickle.dumps(error, protocol=5)
            pickle.loads(said)
            return said
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"), protocol=5)
