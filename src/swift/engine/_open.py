"""A served model's weights, on their device, with its adapter merged in or put beside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn

from swift.core.device import CPU
from swift.core.errors import PlanError, Problem
from swift.engine._fresh import Renewal
from swift.engine._paged import PAGED, Piece, Pool, Step, forward
from swift.engine._place import Layout, describe, layout, place_of, put, room_for_cache
from swift.model.abilities import OWN, cannot_serve, of_class, of_layers
from swift.model.facts import read_facts
from swift.model.score import lacks_words
from swift.model.skeleton import skeleton
from swift.model.weights import open_weights
from swift.seam.device import best_dtype, present
from swift.tuner import applied, merged

if TYPE_CHECKING:
    from swift.engine import Served
    from swift.model.facts import ModelFacts


class Opened(NamedTuple):
    """A model that is ready to compute."""

    model: nn.Module
    device: torch.device
    """Where its inputs go."""

    dtype: torch.dtype
    """What its weights are in."""

    cache: float | None
    """Bytes that keys and values may take; None where nobody can tell."""

    renewal: Renewal | None = None
    """What takes other values for its weights; None where they lie on several devices."""


def dtype_of(named: str, device_map: str) -> torch.dtype:
    """Return what to compute in; `named` may be auto: what the device does best."""
    if named == "auto":
        named = best_dtype(CPU if device_map == CPU else present())
    return cast(torch.dtype, getattr(torch, named))


def open_model(served: Served, adapter: str, dtype: torch.dtype) -> Opened:
    """Return the model with paged attention, ready to compute.

    Args:
        served: Which model, which adapter, and which device if the user named one.
        adapter: "merged" or "applied".
        dtype: What the weights become.

    Raises:
        PlanError: It is a reward model, its attention is not the standard one, or there is no such
            device.
        MachineError: It is larger than all memory.
    """
    if served.scores:
        raise PlanError(lacks_words(served.id))
    facts = read_facts(served.id, served.folder, trust=served.trust)
    try:
        model: Any = skeleton(facts, PAGED)
    except KeyError:
        raise _cannot(facts, "it looks its attention up in a table of its own") from None
    text = model.config.get_text_config().to_dict()
    if why := of_layers(text) or of_class(type(model)).unpaged:
        raise _cannot(facts, why)
    weights = open_weights(facts, {n: p.shape for n, p in model.named_parameters()})
    if served.adapter and adapter == "merged":
        weights = merged(weights, served.adapter, facts, model)
    names = [n for n, _ in model.named_parameters()]
    laid = layout(model, dtype, served.device_map)
    if len(laid) > 1 and served.adapter and adapter == "applied":
        raise _spread_over(laid)
    # Tied weights come once; tie_weights puts them in their other places.
    state = {n: weights.read(n).to(device=place_of(n, laid), dtype=dtype) for n in names}
    model.load_state_dict(state, assign=True, strict=False)
    model.tie_weights()
    model.requires_grad_(False).eval()
    try:
        device = put(model, laid)
        _try(model, device)
    except Exception as error:  # whatever it is, it would be so with every request
        raise _cannot(facts, f"{OWN} ({type(error).__name__}: {error})") from error
    room = room_for_cache(laid, _layers(names))
    beside = bool(served.adapter) and adapter == "applied"
    if served.adapter and beside:
        model = applied(model, served.adapter).to(dtype).requires_grad_(False).eval()
    renewal = Renewal(served, facts, model, beside) if len(laid) == 1 else None
    return Opened(model, device, dtype, room, renewal)


def _layers(names: Sequence[str]) -> list[str]:
    """Return one parameter's name of each layer: what stands under the first number."""
    layers = {m[0]: name for name in names if (m := re.match(r"\D*\.\d+\.", name))}
    return list(layers.values()) or list(names[:1])


def _spread_over(laid: Layout) -> PlanError:
    what = f"an adapter beside the weights cannot follow them: {describe(laid)}"
    return PlanError(Problem(where="engine.adapter", what=what, fix="engine.adapter: merged"))


def _cannot(facts: ModelFacts, why: str) -> PlanError:
    return PlanError(cannot_serve(facts.architecture, why))


def _try(model: nn.Module, device: torch.device) -> None:
    """Compute one token: an architecture may take our attention's name and not hand it its step."""
    step = Step(Pool(1, 1), [Piece(blocks=[1], begin=0, count=1)], device)
    with torch.inference_mode():
        forward(model, [0], step, [0])
