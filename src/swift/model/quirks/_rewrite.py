"""A folder in a layout of its own, rewritten once as one that plain transformers opens."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swift.chat._special import read_json
from swift.core.errors import MachineError, PlanError, Problem
from swift.core.files import cannot_write, free_bytes, whole_folder
from swift.hub.shelf import commit_of
from swift.model._config import too_large
from swift.model.quirks._layout import Layout
from swift.model.quirks._stored import FLOATS, Stored, shards, write

REWRITTEN = "rewritten.json"
"""The file in a rewritten folder that says what it was made of."""

_VERSION = 2
"""Raised when every layout would be written otherwise than before."""


def rewritten(folder: Path, cache: Path, layout: Layout) -> Path:
    """Return the native folder made of the model in `folder`, made now if it is not there yet.

    It is found again by the path, sizes and times of the model's files. Of several processes that
    want it, one writes and the others wait; one that is killed leaves nothing that is taken for it.
    Weights go from file to file in windows: no process holds the model.

    Raises:
        PlanError: Weights or tokenizer are broken, or not those that config.json announces.
        MachineError: The cache cannot be written, or is too small.
    """
    folder = folder.resolve()
    target = cache / "models" / f"{folder.name}-{_digest(folder, layout)}"
    if target.is_dir():
        return target.resolve()
    with _alone(target.with_name(f".{target.name}.lock")):
        if not target.is_dir():
            _rewrite(folder, target, layout)
    return target.resolve()


def _digest(folder: Path, layout: Layout) -> str:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    seen = [(p.name, (stat := p.stat()).st_size, stat.st_mtime_ns) for p in files]
    said = json.dumps([_VERSION, layout.version, str(folder), seen])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock file; whoever dies lets go of it."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise cannot_write(lock.parent, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _rewrite(folder: Path, target: Path, layout: Layout) -> None:
    weights = _native(shards(folder), layout, folder)
    _enough_room(target, sum(w.size for shard in weights for w in shard))
    speech = layout.speech(folder)
    with whole_folder(target) as aside:
        _write_weights(aside, weights)
        dtype = FLOATS[weights[0][0].dtype]
        _dump(aside / "config.json", {**layout.config, **speech.ids, "torch_dtype": dtype})
        _dump(aside / "generation_config.json", speech.generation)
        if isinstance(speech.tokenizer, bytes):
            (aside / "tokenizer.json").write_bytes(speech.tokenizer)
        else:
            _dump(aside / "tokenizer.json", speech.tokenizer)
        _dump(aside / "tokenizer_config.json", speech.config)
        if speech.template:
            (aside / "chat_template.jinja").write_text(speech.template, encoding="utf-8")
        own = read_json(folder / "config.json").get("model_type")
        made = {"of": layout.called, "model_type": own, "folder": str(folder)}
        made["commit"] = commit_of(folder)
        _dump(aside / REWRITTEN, {**made, "notes": list(layout.notes)})
        for name in ("LICENSE", "NOTICE"):  # they go with the weights, wherever those go
            if (folder / name).is_file():
                shutil.copyfile(folder / name, aside / name)


def _native(found: Sequence[Sequence[Stored]], layout: Layout, folder: Path) -> list[list[Stored]]:
    """Return the native weights of each file.

    Raises:
        PlanError: Weights lack, are unknown, or have shapes that transformers does not expect.
    """
    shapes = _shapes(layout.config, folder / "config.json", [w for shard in found for w in shard])
    made = [[part for weight in shard for part in layout.weights(weight)] for shard in found]
    if layout.config["tie_word_embeddings"]:
        made = [[w for w in shard if w.name != "lm_head.weight"] for shard in made]
    seen = {weight.name: weight for shard in made for weight in shard}
    unlike = {
        "is lacking": [name for name in shapes if name not in seen],
        "is unknown": [name for name in seen if name not in shapes],
        "has another shape than config.json gives it": [
            name for name, shape in shapes.items() if name in seen and seen[name].shape != shape
        ],
        "is no plain floating point": [n for n, w in seen.items() if w.dtype not in FLOATS],
    }
    problems = [
        Problem(
            where=str(folder),
            what=f"of its weights, {len(names)} {how}: the first is `{names[0]}`",
            fix="fetch the folder again",
        )
        for how, names in unlike.items()
        if names
    ]
    if problems:
        raise PlanError(problems)
    return [shard for shard in made if shard]


def _shapes(
    config: Mapping[str, Any], path: Path, found: Sequence[Stored]
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of each weight that transformers' model of `config` has.

    Raises:
        PlanError: It announces more than the weights found, or transformers cannot build it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if large := too_large(config, str(path), len(found), sum(math.prod(w.shape) for w in found)):
        raise PlanError(large)
    words = {
        key: said for key, said in config.items() if key not in ("model_type", "architectures")
    }
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(config["model_type"], **words)
            )
    except Exception as error:  # whatever stands in a configuration reaches transformers
        what = f"transformers builds no model of it: {' '.join(str(error).split())[:300]}"
        fix = "fetch the folder again"
        raise PlanError(Problem(where=str(path), what=what, fix=fix)) from error
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


def _enough_room(target: Path, size: int) -> None:
    free = free_bytes(target)
    if free < size:
        what = (
            f"{target.parent} has {free / 1e9:.1f} GB free, and the model converted takes "
            f"{size / 1e9:.1f} GB"
        )
        fix = "free some space, or set SWIFT_CACHE to a folder on another disk"
        raise MachineError(Problem(where="model", what=what, fix=fix))


def _write_weights(folder: Path, weights: list[list[Stored]]) -> None:
    if len(weights) == 1:
        write(folder / "model.safetensors", weights[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(weights, 1):
        name = f"model-{number:05}-of-{len(weights):05}.safetensors"
        write(folder / name, shard)
        places |= {weight.name: name for weight in shard}
    size = sum(weight.size for shard in weights for weight in shard)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    _dump(folder / "model.safetensors.index.json", index)


def _dump(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
