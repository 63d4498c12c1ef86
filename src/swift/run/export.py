"""Export: an adapter and its base become one model that anything opens."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from swift.checkpoint import served
from swift.core.errors import PlanError, Problem
from swift.core.files import usual_modes, whole_folder
from swift.model.facts import read_facts
from swift.model.score import WEIGHT
from swift.model.skeleton import skeleton
from swift.model.weights import Weights, open_weights
from swift.run.save import COMPANIONS, copy_code
from swift.tuner import merged
from swift.tuner._whole import save_model

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from swift.engine import Served
    from swift.model.facts import ModelFacts


def merge(
    id: str,
    output: Path | None,
    adapter: str | None = None,
    kind: str = "safetensors",
    *,
    trust: bool = False,
) -> Path:
    """Write the model that an adapter and its base make together; return its folder.

    Weights pass one by one: W + scale B A, computed in float32, in the base's own type.

    Args:
        id: A run, a checkpoint or an adapter's folder; with `adapter` the base model.
        output: Where to; None for `merged` beside the checkpoint.
        adapter: The adapter, where `id` is the base.
        kind: safetensors, or bin (torch.save of plain tensors).
        trust: Whether code of the base's own may run; it is copied along.

    Raises:
        PlanError: `id` has no adapter, or `output` exists.
        MachineError: `output` cannot be written.
    """
    what = served(id, adapter, trust=trust)
    if what.adapter is None:
        raise PlanError(
            Problem(where=id, what="there is nothing to merge: it is a whole model", fix="use it")
        )
    folder = output or what.adapter.parent / "merged"
    if folder.exists():
        raise PlanError(
            Problem(
                where="output",
                what=f"{folder} exists; nothing is overwritten",
                fix="give another --output, or remove it",
            )
        )
    facts = read_facts(what.id, what.folder, trust=trust)
    model = skeleton(facts, "sdpa", scored=what.scores)
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    weights = merged(_base(facts, shapes, what.scores), what.adapter, facts, model)
    with whole_folder(folder) as aside:
        save_model(_each(weights, list(shapes)), model, aside, kind)
        _companions(what, aside)
        copy_code(facts, aside)
        usual_modes(aside)
    return folder


def _base(facts: ModelFacts, shapes: Mapping[str, torch.Size], scored: bool) -> Weights:
    """Return the base's weights; the head of a reward model comes with the adapter."""
    told = {name: shape for name, shape in shapes.items() if not (scored and name == WEIGHT)}
    return open_weights(facts, told, scored=scored)


def _each(weights: Weights, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    for name in tqdm(names, desc="merging", unit="weight", disable=not sys.stderr.isatty()):
        yield name, weights.read(name)


def _companions(what: Served, folder: Path) -> None:
    """Copy tokenizer and template as they were trained with, and how to generate."""
    for name in COMPANIONS:
        for source in (what.folder, what.speech):
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
