"""A plan's model as a Source: skeleton, numbers, names."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from swift.model.score import WEIGHT, first_value, holds_head, pad_in
from swift.model.skeleton import skeleton
from swift.model.weights import Weights, open_weights
from swift.seam.logprobs import LogProbs
from swift.seam.scores import Scores

if TYPE_CHECKING:
    from swift.model.facts import ModelFacts
    from swift.quant import Quant
    from swift.tuner import Tuner


class ModelSource:
    """Opens a model folder slice by slice, or takes live models.

    Frozen weights are kept in `dtype`; trained ones in float32 (float64 for float64), so that
    small updates are not rounded away.
    """

    def __init__(
        self,
        facts: ModelFacts,
        tuner: Tuner,
        *,
        dtype: str,
        attention: str = "sdpa",
        seed: int = 0,
        gradient_checkpointing: bool = False,
        live: Mapping[str, nn.Module] | None = None,
        quant: Quant | None = None,
        scored: bool = False,
        heat: float = 1.0,
    ) -> None:
        """Take what a plan says.

        `scored`: with a head of one number instead of one of words; `heat` divides the logits.
        """
        self._facts, self._tuner, self._attention, self._seed = facts, tuner, attention, seed
        self._quant, self._scored, self._heat = quant, scored, heat
        self._frozen = getattr(torch, dtype)
        self._trained = torch.float64 if dtype == "float64" else torch.float32
        self._recompute = gradient_checkpointing
        self._live = dict(live or {})
        self._weights: Weights | None = None
        self._model: nn.Module | None = None

    def build(self, role: str) -> LogProbs | Scores:
        """Return the skeleton; the policy has the tuner attached, another role is the base."""
        model = self._bare(role)
        if role != "policy":
            return self._seam(model.requires_grad_(False))
        if self._recompute:
            model.activation_checkpointing_enable()  # type: ignore[operator]
        adapted = hasattr(model, "peft_config")
        return self._seam(model if adapted else self._tuner.attach(model))

    def _seam(self, model: nn.Module) -> LogProbs | Scores:
        return Scores(model) if self._scored else LogProbs(model, self._heat)

    def _bare(self, role: str) -> nn.Module:
        """Return the live model of a role, or the skeleton of the folder's.

        A frozen role that nobody brought is, beside a live policy, a copy of that policy; roles
        are placed before the first step.
        """
        if role in self._live:
            if self._scored:
                pad_in(self._live[role], self._facts)
            return self._packed(self._live[role])
        if "policy" in self._live:
            return copy.deepcopy(self._live["policy"])
        self._model = model = skeleton(self._facts, self._attention, scored=self._scored)
        shapes = {name: weight.shape for name, weight in model.named_parameters()}
        if self._scored and not holds_head(Path(self._facts.folder)):
            shapes.pop(WEIGHT, None)
        self._weights = self._weights or open_weights(self._facts, shapes, scored=self._scored)
        if self._quant is not None:
            self._quant.install(model, self._frozen)
        return model

    def _packed(self, model: nn.Module) -> nn.Module:
        """Return a live model with what is frozen in it packed; without adapters that is all."""
        if self._quant is not None:
            if not hasattr(model, "peft_config"):
                model.requires_grad_(False)
            self._quant.live(model)
        return model

    def value(self, name: str, like: Tensor, part: Sequence[slice] | None) -> Tensor:
        """Return (part of) an added weight's first value, or of a weight on disk."""
        dtype = self._trained if like.requires_grad else self._frozen
        added = self._tuner.initial(name, like, self._random(name))
        stored_as = self.canonical(name).removeprefix("base_model.model.")
        if stored_as == WEIGHT and added is None:
            added = self._new_head(like)
        if added is not None:
            whole = added if part is None else added[tuple(part)]
            return whole.to(dtype)
        assert self._weights is not None, "build comes first"
        stored = self._weights.read(stored_as, part)
        # A read weight may be the file's own memory: whoever trains it wants its own copy.
        value = stored.to(dtype, copy=like.requires_grad)
        return value if self._quant is None else self._quant.packed(like, value)

    def _new_head(self, like: Tensor) -> Tensor | None:
        """Return a head's first value where no file has it; PEFT keeps the same twice."""
        assert self._weights is not None, "build comes first"
        if WEIGHT in self._weights:
            return None
        assert self._model is not None
        return first_value(self._model, like, self._random(WEIGHT))

    def whole(self, weight: Tensor) -> Tensor:
        """Return a weight in its full shape; a packed one is unpacked, which rounds nothing."""
        return weight if self._quant is None else self._quant.whole(weight)

    def numel(self, weight: Tensor) -> int:
        """Return how many numbers a weight stands for, packed or not."""
        return weight.numel() if self._quant is None else self._quant.numel(weight)

    def canonical(self, name: str) -> str:
        """Return the name in files of LogProbs' parameter `model.<name>`."""
        return self._tuner.canonical(name.removeprefix("model."))

    def off(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within it the policy computes as its base."""
        return self._tuner.off(model)

    def _random(self, name: str) -> Generator:
        """Seeded by seed and name alone: every placement draws the same first weights."""
        digest = hashlib.sha256(f"{self._seed}:{self.canonical(name)}".encode()).digest()
        return Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
