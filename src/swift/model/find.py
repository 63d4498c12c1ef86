"""Where a model is: a folder, a run, or the one inside the package."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from swift.core.errors import PlanError, Problem, nearest

EMBEDDED = "nano"
"""The tiny model inside the package."""


def find_model(id: str, cache: Path) -> Path:
    """Return the folder of the model called `id`.

    Args:
        id: A folder that holds config.json, a run folder (its newest checkpoint), or `nano`.
        cache: Where the embedded model is laid, so that a checkpoint's base is a plain folder that
            transformers opens, not a path inside the installed package.

    Raises:
        PlanError: There is no such model; says where it was looked for.
    """
    folder = Path(id).expanduser()
    if (folder / "config.json").is_file():
        return folder.resolve()
    if (checkpoint := _newest(folder)) is not None:
        if (checkpoint / "config.json").is_file():
            return checkpoint.resolve()
        raise PlanError(
            Problem(
                where="model",
                what=f"{checkpoint} is an adapter, and merging it into its base is not there yet",
                fix="give the folder of a whole model",
            )
        )
    if id.lower() == EMBEDDED:
        return _lay_out(Path(__file__).parent / EMBEDDED, cache)
    looked = f"{folder} is a folder without config.json" if folder.is_dir() else "no such folder"
    raise PlanError(
        Problem(
            where="model",
            what=f"there is no model `{id}`: {looked}; the embedded one is `{EMBEDDED}`",
            fix=f"{nearest(id, [EMBEDDED])}, or give the folder of a model",
        )
    )


def _newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run folder (or of a checkpoint: itself)."""
    if (folder / "swift.json").is_file():
        return folder
    cards = [p for p in folder.glob("checkpoint-*/swift.json") if p.parent.name[11:].isdecimal()]
    return max(cards, key=lambda p: int(p.parent.name[11:])).parent if cards else None


def _lay_out(source: Path, cache: Path) -> Path:
    """Copy the embedded model into the cache once, under the digest of its files."""
    files = sorted(p for p in source.iterdir() if p.suffix in {".json", ".jinja", ".safetensors"})
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:12]
    target = cache / "models" / f"{EMBEDDED}-{digest}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in files:
        shutil.copyfile(path, aside / path.name)
    try:
        aside.rename(target)
    except OSError:  # another process was first
        shutil.rmtree(aside)
    return target
