"""A package index of stand-ins: wheels with the right names and nothing inside, made on the spot.

With it the whole installation runs offline in seconds: pip, its resolver, .venv and the scripts are
the real ones; only what is installed is hollow.
"""

from __future__ import annotations

import ensurepip
import re
import shutil
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

BACKEND = '''
"""The least that pip asks of a build backend for `pip install -e`."""
import re, tomllib, zipfile
from pathlib import Path


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    text = Path("src/swift/__init__.py").read_text("utf-8")
    version = re.search(r'__version__ = "(.+?)"', text)[1]
    info = f"swift_llm-{version}.dist-info"
    head = f"Metadata-Version: 2.1\\nName: swift-llm\\nVersion: {version}\\n"
    needs = "".join(f"Requires-Dist: {need}\\n" for need in project["dependencies"])
    scripts = "".join(f"{name} = {place}\\n" for name, place in project["scripts"].items())
    files = {
        "swift_llm.pth": str(Path("src").resolve()) + "\\n",
        f"{info}/METADATA": head + needs,
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": f"[console_scripts]\\n{scripts}",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in files) + f"{info}/RECORD,,\\n"
    name = f"swift_llm-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name
'''


def wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    needs: Sequence[str] = (),
    files: dict[str, str] | None = None,
) -> Path:
    """Write a wheel; without `files` it holds one module that says its version."""
    module = name.replace("-", "_").replace(".", "_")
    info = f"{module}-{version}.dist-info"
    inside = dict(files or {f"{module}/__init__.py": f"__version__ = {version!r}\n"})
    wanted = "".join(f"Requires-Dist: {need}\n" for need in needs)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    inside[f"{info}/METADATA"] = head + wanted
    inside[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    inside[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in inside) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in inside.items():
            archive.writestr(place, text)
    return path


def index(folder: Path, *, torch: str = "2.13.0", torch_needs: Sequence[str] = ()) -> Path:
    """Write an index with all that swift needs to run, setuptools and pip; return its folder."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    for need in project["dependencies"]:
        name, lowest = re.match(r"([\w.-]+?)(?:\[.*\])?[>=~]=([\d.]+)", need).groups()  # type: ignore[union-attr]
        if name != "torch":
            wheel(folder / "simple" / re.sub(r"[-_.]+", "-", name.lower()), name, lowest)
    wheel(folder / "simple" / "torch", "torch", torch, needs=torch_needs)
    backend = {"setuptools/__init__.py": "", "setuptools/build_meta.py": BACKEND}
    wheel(folder / "simple" / "setuptools", "setuptools", "99.0", files=backend)
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    (folder / "simple" / "pip").mkdir()
    for path in bundled.glob("pip-*.whl"):
        shutil.copy(path, folder / "simple" / "pip")
    for page in (folder / "simple").iterdir():
        links = "".join(f'<a href="{p.name}">{p.name}</a>\n' for p in page.glob("*.whl"))
        (page / "index.html").write_text(f"<html><body>{links}</body></html>")
    return folder / "simple"
