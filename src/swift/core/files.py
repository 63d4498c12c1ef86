"""Files and folders that are seen whole or not at all, even after a power cut."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swift.core.errors import MachineError, Problem, WriteError

_ASIDE = ".aside-"
"""How the name of a thing begins while it is being written."""


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a file that holds `text` as UTF-8; its folder must exist.

    Raises:
        MachineError: The disk is full, or the folder cannot be written; `path` is as it was.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by a file that holds `data`; as `write_text`."""
    aside: Path | None = None
    try:
        number, name = tempfile.mkstemp(prefix=f"{_ASIDE}{path.name}-", dir=path.parent)
        aside = Path(name)
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(_mode(path))
        aside.replace(path)
    except OSError as error:
        if aside is not None:
            aside.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    sync_tree(path.parent, deep=False)


def path_of(said: str) -> Path | None:
    """Return the path called `said`, where anything is there; ~ is a user's home.

    None too where nothing can be: the name is too long, or no name of a path.
    """
    with suppress(OSError, RuntimeError, ValueError):  # RuntimeError: ~ and no such user
        path = Path(said).expanduser()
        return path if path.exists() else None
    return None


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` that takes its name when the block ends well.

    A block that raises leaves nothing. What killed processes left of earlier tries at `final` is
    removed first. Of several processes that write it at once, the first to end wins.

    Raises:
        MachineError: `final` exists and is no empty folder, or its parent cannot be written.
    """
    stem = f"{_ASIDE}{final.name}-"
    aside = final.with_name(f"{stem}{os.getpid()}")
    try:
        for left in final.parent.glob(f"{glob.escape(stem)}*"):
            if not _lives(left.name.removeprefix(stem)) or left == aside:
                shutil.rmtree(left, ignore_errors=True)
        aside.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(final, error) from error
    try:
        yield aside
        sync_tree(aside)
        aside.rename(final)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise cannot_write(final, error) from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_tree(final.parent, deep=False)


def _lives(pid: str) -> bool:
    """Return whether a process of this machine has that number."""
    if not pid.isdecimal():
        return True  # no folder of ours
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sync_tree(folder: Path, *, deep: bool = True) -> None:
    """Return once `folder` is on the disk: its list of names and, if `deep`, all that is in it."""
    if deep:
        for path in folder.rglob("*"):
            if not path.is_symlink():
                _sync(path)
    _sync(folder)


def probe(folder: Path) -> None:
    """Write and remove a small file in `folder`, so that a read-only one is known at once.

    Raises:
        MachineError: It cannot be written, with the reason.
    """
    try:
        # Unbuffered: of a disk that is full nothing is left to be written when it is closed.
        with tempfile.TemporaryFile(prefix=_ASIDE, dir=folder, buffering=0) as file:
            left = b"\0" * 4096
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(folder, error) from error


def free_bytes(path: Path) -> int:
    """Return the bytes free for us on the disk of `path`, or of its nearest parent that exists."""
    for place in (path, *path.absolute().parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            return shutil.disk_usage(place).free
    return 0


def size_words(count: int) -> str:
    """Return a number of bytes as people read it: 512 B, 4.2 MB, 15.3 GB (powers of ten)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def cannot_write(path: Path, error: OSError) -> WriteError:
    """Return the error of a write to `path` that failed with `error`."""
    fixes = {
        errno.ENOSPC: "free some space, or choose a folder on another disk",
        errno.EDQUOT: "free some space, or choose a folder on another disk",
        errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
        errno.EROFS: "choose a folder that can be written",
        errno.EACCES: "choose a folder that you may write",
        errno.EPERM: "choose a folder that you may write",
        errno.ENOTDIR: "choose a folder: one of its parents is a file",
        errno.EEXIST: "choose a folder: a file has that name",
        errno.EISDIR: "choose another name: a folder has that one",
        errno.ENOENT: "make its folder first",
        errno.ENOTEMPTY: "another process was first: use what it wrote, or choose another folder",
    }
    what = f"cannot write `{path}`: {error.strerror or error}"
    return WriteError(Problem(what=what, fix=fixes.get(error.errno or 0, "")))


def usual_modes(folder: Path) -> None:
    """Give every file under `folder` the permissions of a new file.

    Some libraries (safetensors 0.6) write for the owner alone, so that nobody else could serve it.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(_new_mode())


def _mode(path: Path) -> int:
    """Return the permissions a file at `path` has or would get; mkstemp's are the owner's only."""
    with suppress(OSError):
        return path.stat().st_mode & 0o777
    return _new_mode()


def _new_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        sync_file(number)
    finally:
        os.close(number)


def sync_file(number: int) -> None:
    """Return once the open file (or folder) of that descriptor is on the disk."""
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no folders
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` within the block; a process that dies lets go of it.

    Raises:
        MachineError: Another living process holds it; says which.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise MachineError(
                Problem(
                    where=str(path.parent),
                    what=f"process {owner} is at work in this folder",
                    fix="wait for it, or stop it",
                )
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
