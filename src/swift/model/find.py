"""Where a model is: a folder, a run, the one inside the package, or a hub's."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from swift.core.env import hub_root, spare_home
from swift.core.errors import PlanError, Problem, WriteError
from swift.core.files import whole_folder
from swift.hub.local import look_up, names, the_one
from swift.model.names import Row, find, near
from swift.model.quirks import opened
from swift.model.search import begun

EMBEDDED = "nano"
"""The tiny model inside the package."""


def find_model(
    id: str,
    cache: Path,
    *,
    hub: str = "auto",
    revision: str = "",
    local: bool = False,
    trust: bool = False,
) -> Path:
    """Return the folder of the model called `id`, in a layout that transformers opens.

    Args:
        id: A folder that holds config.json, a run folder (its newest checkpoint), `nano`, a name of
            the catalogue (in any case, with or without its organisation), or `ORG/NAME` or `NAME`
            in the hub.
        cache: Where the embedded model is laid, so that a checkpoint's base is a plain folder that
            transformers opens, not a path inside the installed package; and where models of older
            layouts are rewritten.
        hub: Where to fetch it from if it is not here: auto, huggingface or modelscope.
        revision: Branch, tag or commit of it there; "" for the main branch.
        local: Fetch nothing.
        trust: Whether code in its folder may run: then a model of an older layout that cannot be
            rewritten is left to that.

    Raises:
        PlanError: There is no such model; says where it was looked for.
        UserError: SWIFT_HUB names no hub, or several of its models have that name.
        MachineError: It is not here and no hub can be reached, or the disk is too small.
    """
    folder = _folder(id)
    if folder is not None and (folder / "config.json").is_file():
        return opened(folder.resolve(), cache, trust=trust)
    if folder is not None and (checkpoint := _newest(folder)) is not None:
        if (checkpoint / "config.json").is_file():
            return checkpoint.resolve()
        raise PlanError(
            Problem(
                where="model",
                what=f"{checkpoint} is an adapter, and this wants a whole model",
                fix=f"swift merge {id}, and give the folder it names",
            )
        )
    if id.lower() == EMBEDDED:
        return _lay_out(Path(__file__).parent / EMBEDDED, cache)
    row, root = find(id), hub_root()
    if root is not None and (found := _in_hub(root, id, row)) is not None:
        return opened(found, cache, trust=trust)
    if root is None and folder is None:
        from swift.model.hubs import on_hubs  # names TLS and HTTP, which take a while

        found = on_hubs(id, hub=hub, revision=revision, local=local)
        if found is not None:
            return opened(found, cache, trust=trust)
    raise PlanError(_missing(id, folder, row, root))


def _folder(id: str) -> Path | None:
    """Return the folder that `id` names as a path; None where it names none."""
    try:
        folder = Path(id).expanduser()
        return folder if id and folder.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path; a ~ before what is no user's name
        return None


def _newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run folder (or of a checkpoint: itself)."""
    if (folder / "swift.json").is_file():
        return folder
    cards = [p for p in folder.glob("checkpoint-*/swift.json") if p.parent.name[11:].isdecimal()]
    return max(cards, key=lambda p: int(p.parent.name[11:])).parent if cards else None


def _in_hub(root: Path, id: str, row: Row | None) -> Path | None:
    """Return the hub's folder of a model; one of the catalogue is looked up by its full ids."""
    for full in (*row.ids, id) if row else (id,):
        held = [p for p in look_up(root, "models", full) if (p / "config.json").is_file()]
        if (found := the_one("models", full, held)) is not None:
            return found
    return None


def _missing(id: str, folder: Path | None, row: Row | None, root: Path | None) -> Problem:
    """Say where a model was looked for, and how to come by it or which name is nearest."""
    looked = f"{folder} is a folder without config.json" if folder else "no such folder"
    meant = row.ids[0] if row else ""
    hub = f"no {root}/models/{meant or id}" if root else "no name of the catalogue"
    if meant:
        place = f"models/{meant}"
        return Problem(
            where="model",
            what=f"`{id}` is {meant}, which is not on this machine ({looked}; {hub}), and "
            "nothing is fetched",
            fix=f"give its folder, or unset SWIFT_HUB to fetch it, or let it hold {place}",
        )
    hint = near(id, [EMBEDDED, *(names(root, "models") if root else [])])
    words = _words(id, hint)
    return Problem(
        where="model",
        what=f"there is no model `{id}`: {looked}; {hub}; the embedded one is `{EMBEDDED}`",
        fix=f"{words}, or give the folder of a model",
    )


def _words(id: str, hint: tuple[str, ...]) -> str:
    """Return how to say a model that is named `id` by mistake, or by half."""
    start = begun(id)
    if start.name:
        hint = (start.name,)
    lists = f"run `swift list models {id}` ({start.many} models)" if start.many else ""
    if hint and (start.name or not lists or not start.starts):
        return "write " + " or ".join(f"`{name}`" for name in hint)
    return lists or "run `swift list models`"


def _lay_out(source: Path, cache: Path) -> Path:
    """Copy the embedded model into the cache once, under the digest of its files."""
    files = sorted(p for p in source.iterdir() if p.suffix in {".json", ".jinja", ".safetensors"})
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:12]
    return laid(files, cache, f"models/{EMBEDDED}-{digest}")


def laid(files: Sequence[Path], cache: Path, name: str) -> Path:
    """Return the folder `name` of the cache, which holds copies of files.

    Where nothing can be written there it is one that only this user can.

    Raises:
        WriteError: Nothing can be written there either.
    """
    try:
        return _copied(files, cache / name)
    except WriteError:
        return _copied(files, spare_home() / name)


def _copied(files: Sequence[Path], target: Path) -> Path:
    """Return a folder that is seen whole, with copies of files."""
    if target.is_dir():
        return target
    try:
        with whole_folder(target) as aside:
            for path in files:
                shutil.copyfile(path, aside / path.name)
    except WriteError:
        if not target.is_dir():  # else another process was first
            raise
    return target
