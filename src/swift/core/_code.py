"""The code of a plug-in: where it is, its digest, and its import."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

GROUP = "swift.plugins"
"""The group of entry points; the value of each names a module."""


def found(said: str) -> tuple[str, Path]:
    """Return the module's name and the place of its code.

    Raises:
        ImportError: There is none.
    """
    path = Path(said).expanduser()
    if path.suffix == ".py" or "/" in said or path.is_dir():
        place = path.resolve()
        file = place / "__init__.py" if place.is_dir() else place
        if not file.is_file() or file.suffix != ".py":
            raise ImportError(f"{file} is no Python file" if file.exists() else f"no file {file}")
        number = hashlib.sha256(str(place).encode()).hexdigest()[:8]  # many are called plugin.py
        return f"swift_plugin_{place.stem}_{number}", place
    module = said.partition(":")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ImportError("no such file, and no such module")
    origin = Path(spec.origin).resolve()
    return module, origin.parent if origin.name == "__init__.py" else origin


def imported(name: str, place: Path) -> ModuleType:
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


def digest_of(place: Path) -> str:
    """Return the sha256 of a file, or of the names and contents of a folder's Python files."""
    if place.is_file():
        return hashlib.sha256(place.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for path in sorted(path for path in place.rglob("*.py") if path.is_file()):
        whole.update(str(path.relative_to(place)).encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()


def declared() -> bool:
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
