"""A file of answers that grows line by line: whole lines only, and gone on with after a kill."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from swift.core.errors import MachineError, PlanError, Problem
from swift.core.files import cannot_write, write_text

ANEW = "give another --output, or --overwrite"


class Lines:
    """An opened output file; see `opened`."""

    def __init__(self, path: Path, file: FileIO, done: int) -> None:
        self._path, self._file = path, file
        self.done = done
        """Lines that were there when it was opened."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one line; it is with the operating system when this returns.

        Raises:
            MachineError: The disk is full.
        """
        data = (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode("utf-8")
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error


@contextmanager
def opened(path: Path, made_by: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[Lines]:
    """Open `path` at the end of its last whole line; what a kill tore is cut off.

    Beside it, PATH.meta.json keeps `made_by`, so that only the same work goes on in it.
    Where an error comes before any line, what was made here is removed again.

    Args:
        path: The file; its folder is made.
        made_by: What the lines depend on, as JSON has it.
        overwrite: Begin anew, whatever is there.

    Raises:
        PlanError: The file holds something else's lines.
        MachineError: It cannot be written, or another process writes it.
    """
    card = path.with_name(path.name + ".meta.json")
    new = [p for p in (card, path, *path.parents) if not p.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)  # a buffer would fail again when it is closed
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        _lock(file, path)
        if overwrite:
            file.truncate(0)
        done, end = _whole(path)
        if done:
            _check(path, card, made_by)
        elif end < file.seek(0, os.SEEK_END) and not card.is_file():
            raise _other(path, "was not written by this command")
        try:
            file.truncate(end)
        except OSError as error:
            raise cannot_write(path, error) from error
        if not done:
            write_text(card, json.dumps(made_by, ensure_ascii=False, indent=1) + "\n")
        try:
            yield Lines(path, file, done)
        except BaseException:
            if not file.seek(0, os.SEEK_END):
                _remove(new)
            raise


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file of answers."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _remove(new: Sequence[Path]) -> None:
    """Remove what was made for lines that never came, the innermost first."""
    with suppress(OSError):  # a folder that somebody else wrote to stays
        for path in new:
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def _lock(file: FileIO, path: Path) -> None:
    """Hold the file until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        fix = "wait for it, or give another --output"
        what = "another process is writing this file"
        raise MachineError(Problem(where=str(path), what=what, fix=fix)) from error


def _whole(path: Path) -> tuple[int, int]:
    """Return (number, end in bytes) of the whole lines; only the last line may be torn.

    Raises:
        PlanError: A line in the midst of the file is not what this command writes.
    """
    done = end = 0
    torn = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if torn:
                raise _other(path, f"line {torn} is none of this command's")
            if _is_line(line, number):
                done, end = done + 1, end + len(line)
            else:
                torn = number + 1
    return done, end


def _is_line(line: bytes, number: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("index") == number


def _check(path: Path, card: Path, made_by: Mapping[str, Any]) -> None:
    """Refuse to go on with lines that were made otherwise."""
    try:
        said = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _other(path, f"says not how it was made: {card.name} is missing or broken") from error
    now = json.loads(json.dumps(made_by))
    old = said if isinstance(said, dict) else {}
    other = [key for key in {**old, **now} if old.get(key) != now.get(key)]
    if other:
        raise _other(path, f"was made with other {', '.join(other)}")


def _other(path: Path, why: str) -> PlanError:
    return PlanError(Problem(where=str(path), what=f"the output {why}", fix=ANEW))
