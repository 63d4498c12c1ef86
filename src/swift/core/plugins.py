"""Plug-ins: a file or a package of somebody else that adds members, rows or verbs.

One is loaded because a recipe or `--plugins` names it, or because it is installed with an entry
point of the group `swift.plugins`. Loading is importing: whatever it registers on the way is then
known here. One that raises leaves nothing behind, and the others go on.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from swift.core.env import cache_home
from swift.core.errors import Problem, UserError
from swift.core.table import additions

GROUP = "swift.plugins"
"""The group of entry points; the value of each names a module."""


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
    """Load the plug-in that a user names, once, and remember that this very code may be run.

    Args:
        said: Path of a .py file, or of a folder with __init__.py, or the name of a module.

    Raises:
        UserError: There is none, or it raised; nothing of it stays.
    """
    plugin = _load(said, installed=False)
    if plugin.problem is not None:
        raise UserError(plugin.problem)
    if plugin.digest and not _mark(plugin.digest).exists():
        _mark(plugin.digest).parent.mkdir(parents=True, exist_ok=True)
        _mark(plugin.digest).touch()
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
    place: str
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
    before, to the byte, is run without being named again.

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
        digest = _digest(place) if one.place and place.exists() else ""
        if digest and _mark(digest).exists():
            problems += load_all([one.place], where)
        elif not digest:
            what = f"{made}, which is not at {one.place or 'a known place'}"
            fix = f"--plugins FOLDER/{Path(one.said).name}"
            problems.append(Problem(what=what, fix=fix, where=where))
        else:
            changed = "has changed since" if digest != one.digest else "is code you never named"
            what = f"{made}, and {place} {changed}"
            problems.append(Problem(what=what, fix=f"--plugins {place}", where=where))
    if problems:
        raise UserError(problems)


def installed() -> None:
    """Load the plug-ins that entry points name, once; those that fail are left out, and named."""
    global _looked
    if _looked:
        return
    _looked = True  # first: what is loaded looks things up itself
    if not _declared():
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        plugin = _load(entry.value, installed=True)
        if plugin.problem is not None:
            sys.stderr.write(f"note: {plugin.problem.where}: {plugin.problem.what}\n")


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
        name, place = _found(said)
    except (ImportError, ValueError, OSError) as error:
        return _keep(said, Plugin(said=said, place="", problem=_absent(said, error)))
    known = _tried.get(str(place))
    if known is not None and known.problem is None:
        return known
    digest = _digest(place)
    before = {*sys.modules}
    try:
        with additions() as found:
            _imported(name, place)
    except Exception as error:
        for module in {*sys.modules} - before:
            if module == name or module.startswith(f"{name}."):
                del sys.modules[module]
        problem = _raised(said, place, error)
        plugin = Plugin(
            said=said, place=str(place), digest=digest, problem=problem, installed=installed
        )
        return _keep(str(place), plugin)
    adds = tuple((addition.kind, addition.name) for addition in found)
    return _keep(
        str(place),
        Plugin(said=said, place=str(place), digest=digest, adds=adds, installed=installed),
    )


def _keep(key: str, plugin: Plugin) -> Plugin:
    _tried[key] = plugin
    return plugin


def _found(said: str) -> tuple[str, Path]:
    """Return the module's name and the place of its code.

    Raises:
        ImportError: There is none.
    """
    path = Path(said).expanduser()
    if path.suffix == ".py" or "/" in said or path.is_dir():
        place = path.resolve()
        file = place / "__init__.py" if place.is_dir() else place
        if not file.is_file():
            raise ImportError(f"no file {file}")
        return f"swift_plugin_{place.stem}", place
    module = said.partition(":")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError("no such file, and no such module")
    origin = Path(spec.origin).resolve()
    return module, origin.parent if origin.name == "__init__.py" else origin


def _imported(name: str, place: Path) -> ModuleType:
    """Import the module `name`, of a file or of a folder that is a package."""
    if not name.startswith("swift_plugin_"):
        return importlib.import_module(name)
    file = place / "__init__.py" if place.is_dir() else place
    inside = [str(place)] if place.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _digest(place: Path) -> str:
    """Return the sha256 of a file, or of the names and contents of a folder's Python files."""
    if place.is_file():
        return hashlib.sha256(place.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for path in sorted(place.rglob("*.py")):
        whole.update(str(path.relative_to(place)).encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()


def _mark(digest: str) -> Path:
    """Return the file whose being there says that the user named code of this digest."""
    return cache_home() / "plugins" / digest


def _absent(said: str, error: Exception) -> Problem:
    fix = "give a .py file, a folder with __init__.py, or a module that is installed"
    return Problem(what=f"there is no plug-in `{said}`: {error}", fix=fix)


def _raised(said: str, place: Path, error: Exception) -> Problem:
    """Return what to say of a plug-in that raised: the line of its own that is nearest to it."""
    lines = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(str(place))
    ]
    where = lines[-1] if lines else str(place)
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    what = f"the plug-in `{said}` raised {type(error).__name__}: {error}"
    return Problem(where=where, what=what, fix="mend it there, or leave it out of `plugins`")


def _declared() -> bool:
    """Return whether any installed package has an entry point for us.

    importlib.metadata would answer too; to load it takes longer than a command's own start.
    """
    heading = f"[{GROUP}]".encode()
    return any(heading in path.read_bytes() for path in _entry_files(sys.path))


def _entry_files(places: Sequence[str]) -> Iterator[Path]:
    for place in places:
        folder = Path(place or ".")
        try:
            inside = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        except OSError:
            continue
        for name in inside:
            if name.endswith((".dist-info", ".egg-info")):
                file = folder / name / "entry_points.txt"
                if file.is_file():
                    yield file
