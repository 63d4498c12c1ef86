"""What lies at a path of this machine: the files of a data set, or why it can be none."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from pathlib import Path

from swift.core.errors import DataError, MachineError, Problem
from swift.dataset.folder import Parts, parts_of
from swift.dataset.readers import suffixes
from swift.dataset.readers.opened import PACKED
from swift.dataset.said import Said

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_FIXES = {
    errno.EACCES: "chmod u+rX {path}, or ask its owner for the right to read it",
    errno.EPERM: "chmod u+rX {path}, or ask its owner for the right to read it",
    errno.ENOENT: "it was there when its name was looked up: put it back, or start again",
    errno.EISDIR: "it was a file when its name was looked up: put that back, or start again",
    errno.ESTALE: "its disk on the network lost it: start again",
}


def path_of(name: str) -> Path:
    """Return the path called `name`; a ~ before what is no user's name is a letter like any."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def on_path(said: Said) -> Parts:
    """Return the parts of the folder, or the file, at a path; {} where neither is.

    Raises:
        DataError: What is there can be no data set, or has no such subset or revision.
        MachineError: It may not be looked at.
    """
    path = path_of(said.stem)
    try:
        is_folder = path.is_dir()
        parts = parts_of(path, said.subsets) if is_folder else {}
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return {}
        raise cannot_read(path, error) from error
    if not is_folder:
        files = file_at(path)
        parts = {"train": files} if files else {}
    if parts:
        plain(said, "a folder" if is_folder else "one file")
    elif not is_folder and (why := _no_data(path)):
        what, fix = why
        raise DataError(Problem(where=said.stem, what=what, fix=fix))
    return parts


def beside(said: Said) -> Parts:
    """Return the file among ./data/NAME.* that may hold the rows of a name; {} if none does.

    Raises:
        DataError, MachineError: As for `on_path`.
    """
    files = next(filter(None, map(file_at, _candidates(said.stem))), ())
    if files:
        plain(said, f"{files[0]}, one file")
    return {"train": files} if files else {}


def file_at(path: Path) -> tuple[Path, ...]:
    """Return the path, if a file is there.

    Raises:
        MachineError: It may not be looked at.
    """
    try:
        return (path,) if path.is_file() else ()
    except (OSError, ValueError) as error:  # a name too long, or with half a character
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            return ()
        raise cannot_read(path, error) from error


def lack(name: str) -> str:
    """Return why the path `name` gives no rows, as a part of a sentence."""
    path = path_of(name)
    try:
        if path.is_dir():
            return f"{path} is a folder without a file that is read ({', '.join(suffixes())})"
    except OSError:
        pass
    return f"{path} is no file and no folder with data files"


def cannot_read(path: Path, error: OSError) -> MachineError:
    """Return the error of a look at `path` that failed with `error`."""
    fix = _FIXES.get(error.errno or 0, "").format(path=path)
    what = f"cannot be read: {error.strerror or error}"
    return MachineError(Problem(where=str(path), what=what, fix=fix))


def _candidates(stem: str) -> Iterator[Path]:
    """Yield the files that may hold the rows of ./data/NAME.*."""
    for packed in ("", *PACKED):
        for suffix in suffixes():
            yield Path("data") / f"{stem}{suffix}{packed}"


def plain(said: Said, kind: str) -> None:
    """Refuse a subset and a revision of what has none.

    Raises:
        DataError: The name asks for one.
    """
    problems = []
    if said.subsets and kind != "a folder":
        asked = "/".join(said.subsets)
        what = f"`{said.stem}` is {kind}, which has no subsets such as `{asked}`"
        fix = "leave the subset out; a folder has some: its subfolders, or what its README lists"
        problems.append(Problem(where="dataset", what=what, fix=fix))
    if said.revision:
        what = f"`{said.stem}` is {kind} of this machine, which has no revision `{said.revision}`"
        hub = f"; HF::{said.stem}@{said.revision} is the hub's" if said.stem.count("/") == 1 else ""
        fix = f"leave out `@{said.revision}`{hub}"
        problems.append(Problem(where="dataset", what=what, fix=fix))
    if problems:
        raise DataError(problems)


def _no_data(path: Path) -> tuple[str, str] | None:
    """Return what is at a path that is no file and no folder, and what to give instead."""
    try:
        mode = path.stat().st_mode
    except ValueError:
        return None
    except OSError as error:
        return _broken_link(path, error)
    for fits, kind in _KINDS:
        if fits(mode):
            piped = f"write what it gives into a file first: cat {path} > rows.jsonl"
            fix = piped if kind == "a named pipe" else "give a file or a folder"
            return f"it is {kind}, and rows are read more than once", fix
    return None


def _broken_link(path: Path, error: OSError) -> tuple[str, str] | None:
    try:
        target = path.readlink()
    except OSError:
        return None
    if error.errno == errno.ELOOP:
        return f"it is a symbolic link that leads to itself ({target})", f"rm {path}"
    if error.errno == errno.ENOENT:
        return f"it is a symbolic link to {target}, which is not there", "mend the link"
    return None
