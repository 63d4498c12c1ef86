"""A model that the hubs over the network have: from their caches, or fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from swift.core.env import hub_root
from swift.core.env import hubs as hubs_of_environment
from swift.core.errors import PlanError, Problem, UserError
from swift.core.files import path_of
from swift.hub.fetch import cached, fetch
from swift.hub.local import look_up, the_one
from swift.hub.ref import Ref
from swift.model.names import find, near

_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def on_hubs(id: str, *, hub: str, revision: str, local: bool) -> Path | None:
    """Return the folder of a model, from a cache if it is whole there; None: no hub's name.

    Args:
        id: What the user said.
        hub: auto, huggingface or modelscope.
        revision: Branch, tag or commit; "" for the main branch.
        local: Do not fetch.

    Raises:
        PlanError: No hub has it, or nothing may be fetched and the caches lack some of it.
        MachineError: No hub can be reached, or the disk is too small.
    """
    refs, part = refs_of(id, revision)
    if not refs:
        return None
    folders = [folder / part for folder in cached(refs, hub)]
    for folder in folders:
        if not lacking(folder):
            return folder.resolve()
    if local or hubs_of_environment().offline:
        return _none(id, refs, folders, local)
    try:
        folder = fetch(refs, hub=hub, patterns=[f"{part}/*"] if part else None) / part
    except UserError as error:
        raise PlanError([*error.problems, *_nearest(id)]) from error
    if lacks := lacking(folder):
        what = f"`{id}` is there, but its repository has no {', '.join(lacks[:3])}"
        raise PlanError(
            Problem(where="model", what=what, fix="give a model with transformers' files")
        )
    return folder.resolve()


def adapter_on_hubs(id: str, *, hub: str, revision: str) -> Path | None:
    """Return the folder of the PEFT adapter that a hub has as `id`, fetched if it is not here.

    None where `id` is a path, a model's name, or nobody's: whoever looks for a model says why.

    Args:
        id: What the user said.
        hub: auto, huggingface or modelscope.
        revision: Branch, tag or commit of it; "" for the main branch.

    Raises:
        MachineError: No hub can be reached, or the disk is too small.
    """
    if path_of(id) is not None or find(id) is not None:
        return None
    if (root := hub_root()) is not None:
        return the_one("models", id, list(filter(_is_adapter, look_up(root, "models", id))))
    refs, _ = refs_of(id, revision)
    for folder in cached(refs, hub) if refs else []:
        if _is_adapter(folder) or not lacking(folder):
            return folder.resolve() if _is_adapter(folder) else None
    if not refs or hubs_of_environment().offline:
        return None
    try:
        folder = fetch(refs, hub=hub)
    except UserError:
        return None
    return folder.resolve() if _is_adapter(folder) else None


def _is_adapter(folder: Path) -> bool:
    weights = any(folder.glob("adapter_model.*"))
    return weights and (folder / "adapter_config.json").is_file()


def lacking(folder: Path) -> list[str]:
    """Return the files without which the model in `folder` cannot be opened."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    for name in _INDEX:
        if (folder / name).is_file():
            shards = _shards(folder / name)
            return missing + [s for s in shards if not (folder / s).is_file()]
        ending = name.split(".")[1]
        if any(path.is_file() for path in folder.glob(f"*.{ending}")):
            return missing
    return [*missing, "model.safetensors"]


def _shards(index: Path) -> list[str]:
    """Return the files that an index names; none where it is broken: others will say."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted(set(named.values()))
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return []


def refs_of(id: str, revision: str = "") -> tuple[Mapping[str, Ref], str]:
    """Return what a model is called on each hub that has it, and the folder in it that is meant.

    None of either where `id` is no name of the catalogue, and no `ORG/NAME`, or is a path.
    """
    row = find(id)
    if row is None:
        if id.count("/") != 1 or not _could_be(id) or Path(id).parent.is_dir():
            return {}, ""
        ref = Ref(id=id, revision=revision)
        return {"huggingface": ref, "modelscope": ref}, ""
    names = {"huggingface": row.huggingface, "modelscope": row.modelscope}
    cut = {name: said.partition(":") for name, said in names.items() if said}
    part = next((c[2] for c in cut.values() if c[2]), "")
    # Each hub cuts a repository of several models in its own way: only one that has the part.
    refs = {n: Ref(id=c[0], revision=revision) for n, c in cut.items() if c[2] == part}
    return refs, part


def _could_be(id: str) -> bool:
    try:
        return bool(Ref(id=id))
    except UserError:
        return False


def _nearest(id: str) -> list[Problem]:
    """Return the hint that a name outside the catalogue gets, if one is near."""
    words = " or ".join(f"`{name}`" for name in near(id)) if find(id) is None else ""
    what = f"the catalogue has no `{id}`"
    return [Problem(where="model", what=what, fix=f"write {words}")] if words else []


def _none(id: str, refs: Mapping[str, Ref], folders: list[Path], local: bool) -> Path | None:
    if local:
        return None
    ref = next(iter(refs.values()))
    if folders:
        lacks = ", ".join(lacking(folders[0])[:3])
        what = f"`{id}` is in {folders[0]} without {lacks}, and HF_HUB_OFFLINE is set"
    else:
        hubs = hubs_of_environment()
        places = f"{hubs.huggingface_cache} or {hubs.modelscope_cache}"
        what = f"`{id}` is {ref}, which is not in {places}, and HF_HUB_OFFLINE is set"
    fix = f"swift download {ref.id} where there is a network, or unset HF_HUB_OFFLINE"
    raise PlanError(Problem(where="model", what=what, fix=fix))
