"""A model without its weights: modules and buffers are real, parameters lie on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from swift.model.facts import ModelFacts


def skeleton(facts: ModelFacts, attention: str) -> nn.Module:
    """Return the transformers model of `facts.folder` with every parameter on the meta device.

    Buffers (rotary frequencies, ...) are computed for real, since no file holds them.

    Args:
        facts: Names the folder and its class.
        attention: transformers' `attn_implementation`: sdpa or eager.

    Raises:
        PlanError: transformers does not know the architecture.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from swift.core.errors import PlanError, Problem

    try:
        config = AutoConfig.from_pretrained(Path(facts.folder))
        with _parameters_on_meta():
            model: nn.Module = AutoModelForCausalLM.from_config(
                config, attn_implementation=attention, trust_remote_code=False
            )
    except ValueError as error:
        raise PlanError(
            Problem(
                where="model",
                what=f"{facts.id}: transformers has no causal language model for it ({error})",
            )
        ) from error
    model.tie_weights()  # type: ignore[operator]
    model.config._name_or_path = facts.folder  # type: ignore[union-attr]
    return model


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Send each parameter to the meta device as it is registered; buffers stay.

    `torch.device("meta")` would empty the buffers too, and some are in no file.
    """
    from torch import nn

    register = nn.Module.register_parameter

    def on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
