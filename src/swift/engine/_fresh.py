"""Other values for an opened model's weights, put where the old ones lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem
from swift.model.weights import Weights, open_weights
from swift.tuner import changed, merged

if TYPE_CHECKING:
    from pathlib import Path

    from swift.engine import Fresh, Served
    from swift.model.facts import ModelFacts


class Renewal:
    """Knows where the values of a model in this process came from, and takes others."""

    def __init__(self, served: Served, facts: ModelFacts, model: nn.Module, beside: bool) -> None:
        """Take a model as it was opened.

        Args:
            served: What it is made of.
            facts: Of its base.
            model: With its weights, on one device.
            beside: Whether its adapter is computed beside the weights.
        """
        self._facts, self._model, self._beside = facts, model, beside
        self._named = dict(model.named_parameters())
        merged_in = served.adapter if served.adapter is not None and not beside else None
        self._changed = changed(merged_in) if merged_in is not None else frozenset[str]()
        """What the adapter that is merged in has changed; None: it may be anything."""

    def take(self, fresh: Fresh) -> None:
        """Exchange values; nobody may compute meanwhile.

        Raises:
            PlanError: They do not fit.
        """
        with torch.no_grad():
            if fresh.adapter is not None and self._beside:
                self._beside_them(fresh.adapter)
            elif fresh.adapter is not None:
                for name, value in self._with(fresh.adapter):
                    self._put(name, value)
            for name, value in fresh.weights:
                self._put(name, value)

    def _with(self, adapter: Path) -> Iterator[tuple[str, Tensor]]:
        """Yield what an adapter changes, and what the one before had changed."""
        base = _Wide(self._facts, self._named)
        added = merged(base, adapter, self._facts, self._model)
        before, self._changed = self._changed, changed(adapter)
        for name in self._named:
            if any(names is None or name in names for names in (before, self._changed)):
                yield name, added.read(name)

    def _put(self, name: str, value: Tensor) -> None:
        there = self._named.get(name)
        if there is None or there.shape != value.shape:
            had = "has no weight of that name" if there is None else f"has {tuple(there.shape)}"
            what = f"`{name}` of {tuple(value.shape)} does not fit: the model {had}"
            raise PlanError(Problem(where="engine", what=what, fix="give it its own model's"))
        there.copy_(value)

    def _beside_them(self, adapter: Path) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        model: Any = self._model
        found = set_peft_model_state_dict(model, load_file(adapter / "adapter_model.safetensors"))
        if found.unexpected_keys:
            what = f"the adapter has `{found.unexpected_keys[0]}`, which the opened one has not"
            raise PlanError(Problem(where=str(adapter), what=what, fix="give one of the same kind"))


class _Wide:
    """The base's weights in the numbers that the model computes in, so that none is rounded."""

    def __init__(self, facts: ModelFacts, named: dict[str, nn.Parameter]) -> None:
        self._named = named
        shapes = {name: weight.shape for name, weight in named.items()}
        self._base: Weights = open_weights(facts, shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._base

    def read(self, name: str, part: Sequence[slice] | None = None) -> Tensor:
        """Return the weight, or only `part` of it."""
        return self._base.read(name, part).to(self._named[name].dtype)
