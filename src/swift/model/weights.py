"""Reads named weights, whole or in slices, from a model folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from swift.model.facts import ModelFacts


class Weights(Protocol):
    """Where a placement gets the numbers from."""

    def __contains__(self, name: object) -> bool:
        """Whether a weight of that name exists."""

    def read(self, name: str, part: Sequence[slice] | None = None) -> Tensor:
        """Return the weight, or only `part` of it (one slice a dimension), on the CPU."""


class Files:
    """Weights of safetensors files; a slice reads only its own bytes.

    `prefix` is what the model's names have before the files' names, or the other way round: a
    base model saved without its head lacks the leading "model.".
    """

    def __init__(self, files: Sequence[Path], names: Sequence[str]) -> None:
        from swift.model.facts import header

        found = [(name, file, entry) for file in files for name, entry in header(file).items()]
        stored = {name: file for name, file, _ in found}
        self._shapes = {name: tuple(entry["shape"]) for name, _, entry in found}
        self._where = _matched(stored, names)
        self._open: dict[Path, Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def stored(self, name: str) -> tuple[Path, str, tuple[int, ...]]:
        """Return a weight's file, and its name and shape there."""
        file, stored = self._where[name]
        return file, stored, self._shapes[stored]

    def read(self, name: str, part: Sequence[slice] | None = None) -> Tensor:
        """Return the weight, or only `part` of it."""
        from safetensors import safe_open

        file, stored = self._where[name]
        if file not in self._open:
            self._open[file] = safe_open(file, framework="pt", device="cpu")
        if part is None:
            tensor: Tensor = self._open[file].get_tensor(stored)
            return tensor
        sliced: Tensor = self._open[file].get_slice(stored)[tuple(part)]
        return sliced


def _matched(stored: dict[str, Path], names: Sequence[str]) -> dict[str, tuple[Path, str]]:
    for before, after in (("", ""), ("model.", ""), ("", "model.")):
        found = {
            name: (stored[s], s)
            for name in names
            if (s := after + name.removeprefix(before)) in stored
        }
        if 2 * len(found) > len(names):
            return found
    return {}


class Loaded:
    """Weights of a state dict in memory."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def read(self, name: str, part: Sequence[slice] | None = None) -> Tensor:
        """Return the weight, or only `part` of it."""
        tensor = self._tensors[name]
        return tensor if part is None else tensor[tuple(part)]


def open_weights(
    facts: ModelFacts, shapes: Mapping[str, Sequence[int]], *, scored: bool = False
) -> Weights:
    """Return a model's weights.

    Files whose names differ from the model's (transformers renames or fuses some families' weights
    while loading) are opened by transformers itself: then the whole model is in this process.

    Args:
        facts: The model's.
        shapes: By the model's own names, tied ones once.
        scored: Whether they are a model's with a head of one number.

    Raises:
        PlanError: A weight is in no file, or has another shape there.
    """
    from swift.model.facts import weight_files

    files = Files(weight_files(Path(facts.folder)), list(shapes))
    if not all(name in files for name in shapes):
        return _through_transformers(facts, shapes, scored)
    _check([(*files.stored(name), tuple(shape)) for name, shape in shapes.items()])
    return files


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing progress within a block: it would stand in an answer."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _through_transformers(
    facts: ModelFacts, shapes: Mapping[str, Sequence[int]], scored: bool
) -> Weights:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from swift.core.errors import PlanError, Problem
    from swift.model.allowed import may_run

    folder = Path(facts.folder)
    auto: Any = AutoModelForSequenceClassification if scored else AutoModelForCausalLM
    more = {"num_labels": 1} if scored else {}
    with without_bars():
        model, info = auto.from_pretrained(
            folder,
            dtype="auto",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below
            trust_remote_code=may_run(facts),
            **more,
        )
    _check([(folder, name, tuple(a), tuple(b)) for name, a, b in info["mismatched_keys"]])
    made = set(info["missing_keys"])  # drawn at random, as a head that no file has
    loaded = Loaded({n: t for n, t in model.state_dict().items() if n not in made})
    missing = [n for n in shapes if n not in loaded]
    if missing:
        what = f"{folder} lacks {len(missing)} weights, the first is `{missing[0]}`"
        raise PlanError(Problem(where="model", what=what, fix=_STRANGER))
    return loaded


_STRANGER = "the folder does not belong to its config.json: fetch it again"


def _check(pairs: Sequence[tuple[Path, str, tuple[int, ...], tuple[int, ...]]]) -> None:
    """Compare (file, weight's name, shape there, shape by config.json).

    Raises:
        PlanError: Some differ; names the first three.
    """
    from swift.core.errors import PlanError, Problem

    strange = [pair for pair in pairs if pair[2] != pair[3]]
    problems = [
        Problem(
            where=str(file),
            what=f"`{name}` is {list(there)} here, but {list(wanted)} by config.json",
            fix=_STRANGER,
        )
        for file, name, there, wanted in strange[:3]
    ]
    if len(strange) > 3:
        problems.append(Problem(what=f"{len(strange) - 3} further weights have other shapes too"))
    if problems:
        raise PlanError(problems)
