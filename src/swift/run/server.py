"""`swift serve` as a child process: started, ready, asked, stopped, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.errors import MachineError, Problem
from swift.core.files import write_text

READY = "ready: "
"""How the line begins by which a server says where it listens."""

_PATIENCE = 180.0
"""Seconds a server may take to be ready."""

_GRACE = 15.0
"""Seconds a server may take to end after SIGTERM."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""This machine is never asked through a proxy."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that is ready."""

    url: str
    """Where it listens: "http://127.0.0.1:8000"."""

    pid: int


@contextmanager
def serving(model: str, folder: Path, *, keep: bool) -> Iterator[Server]:
    """Yield a server of `model` on a free port; it ends with the block, or with this process.

    Args:
        model: What to serve.
        folder: Gets server.json (who it is) and server.log (what it says).
        keep: Whether it goes on after a block that ended well.

    Raises:
        MachineError: It ended early or was not ready in time; the end of its log says why.
    """
    record = folder / "server.json"
    stop_recorded(record)
    words = ["serve", model, "--port", "0"]
    start = ["swift", *words] if keep else ["swift.run.tied", str(os.getpid()), "swift", *words]
    log = folder / "server.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", *start],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # a Ctrl+C is ours; we stop it in order
        )
    stays = False
    try:
        who = {"pid": child.pid, "born": born(child.pid)}
        write_text(record, json.dumps(who))
        url = _ready(child, log)
        write_text(record, json.dumps({**who, "url": url}))
        yield Server(url=url, pid=child.pid)
        stays = keep
    finally:
        if not stays:
            _end(child.send_signal, lambda: child.poll() is not None)
            record.unlink(missing_ok=True)


def stop_recorded(record: Path) -> bool:
    """Stop the server that `record` names, if it still is that process; say whether it was."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
        pid, when = int(said["pid"]), str(said["born"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    lives = bool(when) and born(pid) == when
    if lives:
        _end(lambda number: os.kill(pid, number), lambda: born(pid) != when)
    record.unlink(missing_ok=True)
    return lives


def born(pid: int) -> str:
    """Return when a living process began, as this system counts; "" for one that is gone.

    A process id is used again in time; with its beginning it names one process.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()


def ask(url: str, body: dict[str, Any], *, seconds: float = 60) -> dict[str, Any]:
    """Return the answer to one JSON request, a POST.

    Raises:
        MachineError: There is none, or it is no JSON object.
    """
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with _DIRECT.open(request, timeout=seconds) as answer:
            found = json.load(answer)
    except (OSError, ValueError) as error:
        raise MachineError(
            Problem(where=url, what=f"the server did not answer: {error}")
        ) from error
    if not isinstance(found, dict):
        raise MachineError(Problem(where=url, what="the server's answer is no JSON object"))
    return found


def _ready(child: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address that the server says it listens at."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        over = child.poll() is not None
        text = log.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines(keepends=True):
            if line.startswith(READY) and line.endswith("\n"):
                return line.removeprefix(READY).split()[0].rstrip("/").removesuffix("/v1")
        if over:
            tail = "\n".join(text.splitlines()[-6:])
            what = f"the server ended before it was ready:\n{tail}"
            raise MachineError(Problem(where=str(log), what=what))
        time.sleep(0.05)
    what = f"the server was not ready within {_PATIENCE:.0f} s"
    raise MachineError(Problem(where=str(log), what=what))


def _end(send: Callable[[int], None], gone: Callable[[], bool]) -> None:
    """Ask a process to end, and make it after a while."""
    with suppress(ProcessLookupError):
        send(signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while not gone():
            if time.monotonic() > end:
                send(signal.SIGKILL)
            time.sleep(0.02)
