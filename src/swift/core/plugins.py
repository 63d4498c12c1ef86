"""Plug-ins: a file or a package of somebody else that adds members, rows or verbs.

One is loaded because a recipe or `--plugins` names it, or because it is installed with an entry
point of the group `swift.plugins`. Loading is importing: whatever it registers on the way is then
known here. One that raises leaves nothing behind, and the others go on.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from swift.core._code import GROUP as GROUP
from swift.core._code import declared, digest_of, found, imported
from swift.core.env import cache_home
from swift.core.errors import Problem, UserError, nearest
from swift.core.table import additions


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plug-in that was tried."""

    said: str
    """How it is named: a path, a module, or the name of an entry point."""

    place: str
    """Its file, or the folder of its package; "" where it was not found."""

    digest: str = ""
    """sha256 of its Python files."""

    adds: tuple[tuple[str, str], ...] = ()
    """(kind, name) of everything it added."""

    problem: Problem | None = None
    """Why it adds nothing."""

    installed: bool = False
    """Whether an entry point brought it."""


_tried: dict[str, Plugin] = {}
"""By place where there is one, else by name."""

_by_flag: list[str] = []
_looked = False


def load(said: str) -> Plugin:
    """Load the plug-in that a user names, once, and remember that this very code here may be run.

    Args:
        said: Path of a .py file, or of a folder with __init__.py, or the name of a module.

    Raises:
        UserError: There is none, or it raised; nothing of it stays.
        MachineError: The cache cannot be written.
    """
    plugin = _load(said, installed=False)
    if plugin.problem is not None:
        raise UserError(plugin.problem)
    mark = _mark(Path(plugin.place), plugin.digest)
    with suppress(OSError):  # without a mark a checkpoint made with it asks for its name again
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return plugin


def load_all(names: Iterable[str], where: str = "") -> list[Problem]:
    """Load the named plug-ins; return what is wrong with those that failed, at `where`."""
    problems: list[Problem] = []
    for name in names:
        try:
            load(name)
        except UserError as error:
            problems += (
                Problem(what=f"{p.where}: {p.what}" if p.where else p.what, fix=p.fix, where=where)
                for p in error.problems
            )
    return problems


def attribute(said: str) -> object:
    """Return what `./mine.py:brevity` or `module:name` names; its code is loaded as a plug-in.

    Raises:
        UserError: There is no such file or module, it raised, or it has nothing of that name.
        MachineError: The cache cannot be written.
    """
    place, _, name = said.rpartition(":")
    load(place)
    inside = vars(sys.modules[found(place)[0]])
    if name in inside:
        return inside[name]
    functions = [word for word, thing in inside.items() if callable(thing) and word[0] != "_"]
    raise UserError(Problem(where=place, what=f"it has no `{name}`", fix=nearest(name, functions)))


def load_flagged(names: Iterable[str]) -> None:
    """Load what `--plugins` names; recipes read afterwards name them too.

    Raises:
        UserError: One or more cannot be loaded; all are named.
    """
    names = [*names]
    problems = load_all(names, "--plugins")
    if problems:
        raise UserError(problems)
    _by_flag.extend(name for name in names if name not in _by_flag)


def flagged() -> tuple[str, ...]:
    """Return what `--plugins` named on the command line."""
    return tuple(_by_flag)


@dataclass(frozen=True, kw_only=True)
class Used:
    """A plug-in as a plan and a checkpoint remember it."""

    said: str
    place: str = ""
    """Absolute; "" where it is not told, as of what was pushed."""

    digest: str


def used(names: Iterable[str]) -> tuple[Used, ...]:
    """Return what to remember of loaded plug-ins.

    Raises:
        UserError: One of them cannot be loaded.
    """
    found = [load(name) for name in names]
    return tuple(Used(said=p.said, place=p.place, digest=p.digest) for p in found)


def load_again(remembered: Iterable[Used], where: str) -> None:
    """Load the plug-ins that a run or a checkpoint was made with.

    A checkpoint may come from anywhere, and a plug-in is code: only code that this user has named
    before, at the same place and to the byte, is run without being named again. (Elsewhere the same
    text may import something else: compiled files, links, what lies beside it.)

    Args:
        remembered: What the folder says.
        where: The folder.

    Raises:
        UserError: Some of them are not here, or are not the code that was run; all are named.
    """
    problems: list[Problem] = []
    for one in remembered:
        if any(p.digest == one.digest and p.problem is None for p in _tried.values()):
            continue
        made, place = f"it was made with the plug-in `{one.said}`", Path(one.place)
        digest = digest_of(place) if place.is_absolute() and place.exists() else ""
        if digest and _mark(place, digest).exists():
            problems += load_all([one.place], where)
        elif not digest:
            what = f"{made}, which is not at {one.place or 'a known place'}"
            fix = f"--plugins FOLDER/{Path(one.said).name}"
            problems.append(Problem(what=what, fix=fix, where=where))
        else:
            named = "has changed since" if digest != one.digest else "is code you never named"
            what = f"{made}, and {place} {named}"
            problems.append(Problem(what=what, fix=f"--plugins {place}", where=where))
    if problems:
        raise UserError(problems)


def installed() -> None:
    """Load the plug-ins that entry points name, once; those that fail are left out, and named."""
    global _looked
    if _looked:
        return
    _looked = True  # first: what is loaded looks things up itself
    if not declared():
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        plugin = _load(entry.value, installed=True)
        if plugin.problem is not None:
            where = plugin.problem.where or f"entry point `{entry.name}` of {entry.dist}"
            sys.stderr.write(f"note: {where}: {plugin.problem.what}\n")


def tried() -> tuple[Plugin, ...]:
    """Return every plug-in that was tried, the installed ones among them."""
    installed()
    return tuple(_tried.values())


def owner(path: str) -> Plugin | None:
    """Return the plug-in that the file at `path` belongs to, if it is of one."""
    for plugin in _tried.values():
        if plugin.place and (path == plugin.place or path.startswith(plugin.place + "/")):
            return plugin
    return None


def at_fault(error: Exception) -> Plugin | None:
    """Return the plug-in whose code, or what it called, raised `error`; None where ours did."""
    ours = str(Path(__file__).parent.parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (plugin := owner(frame.filename)) is not None:
            return plugin
        if frame.filename.startswith(ours):
            return None
    return None


# --- how -------------------------------------------------------------------------------------


def _load(said: str, *, installed: bool) -> Plugin:
    """Import a plug-in unless it was tried before."""
    try:
        name, place = found(said)
        digest = digest_of(place)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # looking for a.b imports a, which may do anything
        return _keep(said, Plugin(said=said, place="", problem=_absent(said, error)))
    known = _tried.get(str(place))
    if known is not None and known.problem is None:
        return known
    before = {*sys.modules}
    try:
        with additions() as new:
            imported(name, place)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: a plug-in does not end the command
        for module in {*sys.modules} - before:
            if module == name or module.startswith(f"{name}."):
                del sys.modules[module]
        problem = _raised(said, place, error)
        plugin = Plugin(
            said=said, place=str(place), digest=digest, problem=problem, installed=installed
        )
        return _keep(str(place), plugin)
    adds = tuple((addition.kind, addition.name) for addition in new)
    return _keep(
        str(place),
        Plugin(said=said, place=str(place), digest=digest, adds=adds, installed=installed),
    )


def _keep(key: str, plugin: Plugin) -> Plugin:
    _tried[key] = plugin
    return plugin


def _mark(place: Path, digest: str) -> Path:
    """Return the file whose being there says that the user named code of this digest there."""
    named = hashlib.sha256(f"{place.resolve()}\0{digest}".encode()).hexdigest()
    return cache_home() / "plugins" / named


def _absent(said: str, error: BaseException) -> Problem:
    fix = "give a .py file, a folder with __init__.py, or a module that is installed"
    why = _words(error) if isinstance(error, ImportError | OSError) else _named(error)
    return Problem(what=f"there is no plug-in `{said}`: {why}", fix=fix)


def _raised(said: str, place: Path, error: BaseException) -> Problem:
    """Return what to say of a plug-in that raised: the line of its own that is nearest to it."""
    lines = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(str(place))
    ]
    where = lines[-1] if lines else str(place)
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    what = f"the plug-in `{said}` raised {_named(error)}"
    return Problem(where=where, what=what, fix="mend it there, or leave it out of `plugins`")


def _named(error: BaseException) -> str:
    words = _words(error)
    return type(error).__name__ + (f": {words}" if words else "")


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception of a plug-in's own
        return ""
