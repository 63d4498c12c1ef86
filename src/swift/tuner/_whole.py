"""What full and freeze share: choosing weights, and a whole model on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem, nearest
from swift.model.score import WEIGHT
from swift.model.skeleton import stored_buffers

SHARD_BYTES = 5 * 10**9
"""Weights are cut into files of about this size, as the ecosystem does."""

_LAYER = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")


def train_some(model: nn.Module, layers: int, also: Sequence[str]) -> nn.Module:
    """Return `model` with only its last `layers` layers, and names holding `also`, trained.

    A head of one number is trained too: nobody else has.
    """
    names = [n for n, _ in model.named_parameters()]
    found = [int(m.group(1)) for n in names if (m := _LAYER.search(n))]
    depth = max(found, default=-1) + 1
    problems = [
        Problem(
            where="tuner.also", what=f"no weight's name holds `{part}`", fix=_parts(part, names)
        )
        for part in also
        if not any(part in n for n in names)
    ]
    if layers > depth:
        problems.append(
            Problem(
                where="tuner.layers",
                what=f"layers is {layers}, but the model has {depth}",
                fix=f"at most {depth}",
            )
        )
    if layers == 0 and not also:
        problems.append(
            Problem(where="tuner", what="nothing would be trained", fix="layers: 2, or name `also`")
        )
    if problems:
        raise PlanError(problems)
    for name, weight in model.named_parameters():
        place = _LAYER.search(name)
        last = place is not None and int(place.group(1)) >= depth - layers
        added = name == WEIGHT
        weight.requires_grad_(last or added or any(part in name for part in also))
    return model


def _parts(word: str, names: Sequence[str]) -> str:
    return nearest(word, sorted({p for n in names for p in n.split(".") if not p.isdigit()}))


def save_model(
    weights: Iterable[tuple[str, Tensor]],
    model: nn.Module,
    folder: Path,
    kind: str = "safetensors",
) -> None:
    """Write whole tensors into shards with their index, and the model's configurations.

    Peak memory is one shard: tensors are taken from `weights` one by one; buffers that belong
    into files come from `model`. `kind` is safetensors
    or bin (torch's own files, for programs that read nothing else).
    """
    shards: list[dict[str, Tensor]] = [{}]
    index: dict[str, str] = {}
    filled = total = 0
    temporary: list[Path] = []
    for name, tensor in chain(stored_buffers(model).items(), weights):
        size = tensor.numel() * tensor.element_size()
        if filled and filled + size > SHARD_BYTES:
            temporary.append(_write(shards.pop(), folder, len(temporary), kind))
            shards.append({})
            filled = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        index[name] = str(len(temporary))
        filled, total = filled + size, total + size
    temporary.append(_write(shards.pop(), folder, len(temporary), kind))
    _name_shards(temporary, index, total, folder)
    model.config.dtype = tensor.dtype
    model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)  # type: ignore[union-attr, operator]


def _write(tensors: dict[str, Tensor], folder: Path, number: int, kind: str) -> Path:
    path = folder / f"part-{number}.{kind}"
    if kind == "bin":
        # A tensor that is a view would take the whole storage it looks into along.
        torch.save({name: tensor.clone() for name, tensor in tensors.items()}, path)
    else:
        save_file(tensors, path, metadata={"format": "pt"})
    return path


def _name_shards(parts: list[Path], index: dict[str, str], total: int, folder: Path) -> None:
    stem = "pytorch_model" if parts[0].suffix == ".bin" else "model"
    suffix, count = parts[0].suffix, len(parts)
    if count == 1:
        parts[0].rename(folder / f"{stem}{suffix}")
        return
    names = [f"{stem}-{i + 1:05d}-of-{count:05d}{suffix}" for i in range(count)]
    for part, name in zip(parts, names, strict=True):
        part.rename(folder / name)
    where = {tensor: names[int(part)] for tensor, part in index.items()}
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2)
    (folder / f"{stem}{suffix}.index.json").write_text(text + "\n", encoding="utf-8")
