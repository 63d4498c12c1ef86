"""A served model's weights, on their device, with its adapter merged in or put beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from swift.core.errors import PlanError, Problem
from swift.engine._paged import PAGED, Piece, Pool, Step, forward, refusal
from swift.model.facts import read_facts
from swift.model.skeleton import skeleton
from swift.model.weights import open_weights
from swift.tuner import applied, merged

if TYPE_CHECKING:
    from swift.engine import Served
    from swift.model.facts import ModelFacts


def device_and_dtype(named: str) -> tuple[torch.device, torch.dtype]:
    """Return where to compute and in what; `named` may be auto."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if named == "auto":
        named = "float32"
        if device.type == "cuda":
            named = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return device, cast(torch.dtype, getattr(torch, named))


def open_model(served: Served, adapter: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return the model with paged attention, ready to compute.

    Args:
        served: Which model, and which adapter.
        adapter: "merged" or "applied".
        device: Where to.
        dtype: What the weights become.

    Raises:
        PlanError: Its attention is not the standard one.
    """
    facts = read_facts(served.id, served.folder, trust=served.trust)
    try:
        model: Any = skeleton(facts, PAGED)
    except KeyError:
        raise _cannot(facts, "it looks its attention up in a table of its own") from None
    if why := refusal(model.config) or ("" if model._supports_attention_backend else _OWN):
        raise _cannot(facts, why)
    weights = open_weights(facts, {n: p.shape for n, p in model.named_parameters()})
    if served.adapter and adapter == "merged":
        weights = merged(weights, served.adapter, facts, model)
    # Tied weights come once; tie_weights puts them in their other places.
    state = {n: weights.read(n).to(device=device, dtype=dtype) for n, _ in model.named_parameters()}
    model.load_state_dict(state, assign=True, strict=False)
    model.tie_weights()
    model.requires_grad_(False).eval()
    try:
        model.to(device)
        _try(model, device)
    except Exception as error:  # whatever it is, it would be so with every request
        raise _cannot(facts, f"{_OWN} ({type(error).__name__}: {error})") from error
    if served.adapter and adapter == "applied":
        return applied(model, served.adapter).to(dtype).requires_grad_(False).eval()
    return cast(nn.Module, model)


_OWN = "its attention is its own"


def _cannot(facts: ModelFacts, why: str) -> PlanError:
    what = f"the torch engine cannot run {facts.architecture}: {why}"
    return PlanError(Problem(where="model", what=what))


def _try(model: nn.Module, device: torch.device) -> None:
    """Compute one token: an architecture may take our attention's name and not hand it its step."""
    step = Step(Pool(1, 1), [Piece(blocks=[1], begin=0, count=1)], device)
    with torch.inference_mode():
        forward(model, [0], step, [0])
