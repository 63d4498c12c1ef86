"""A model without its weights: modules and buffers are real, parameters lie on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import SwiftError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from swift.core.errors import PlanError
    from swift.model.facts import ModelFacts


def skeleton(facts: ModelFacts, attention: str, *, scored: bool = False) -> nn.Module:
    """Return the transformers model of `facts.folder` with every parameter on the meta device.

    Where the facts allow the folder's own code, that builds it.

    Buffers (rotary frequencies, ...) are computed for real; those that files hold (the balance of
    a router, ...) are read from there.

    Args:
        facts: Names the folder and its class.
        attention: transformers' `attn_implementation`. Where the architecture lacks it, sdpa is
            taken, and where it lacks that, eager: `attention_of` tells.
        scored: With a head of one number a position instead of one of words.

    Raises:
        PlanError: transformers does not know the architecture, or the folder's own code fails.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers import AutoModelForSequenceClassification as AutoModelThatScores

    from swift.model.allowed import failed, may_run
    from swift.model.score import fit, pad_in
    from swift.model.structures import enrol

    enrol()
    own = may_run(facts)
    try:
        config = AutoConfig.from_pretrained(facts.folder, trust_remote_code=own)
        attention = _possible(config, attention, facts.folder if own else "")
        if scored:
            fit(config, facts)
        auto: Any = AutoModelThatScores if scored else AutoModelForCausalLM
        with _parameters_on_meta():
            model: nn.Module = auto.from_config(
                config, attn_implementation=attention, trust_remote_code=own
            )
    except SwiftError:
        raise
    except Exception as error:  # the folder's own code may raise anything
        if own:
            raise failed(facts, error) from error
        if error.args == (attention,):
            raise  # a KeyError: the architecture looks its attention up in a table of its own
        raise _unbuilt(facts, error) from error
    model.tie_weights()  # type: ignore[operator]  # of transformers
    _fill_buffers(model, Path(facts.folder))
    if scored:
        pad_in(model, facts)
    model.config._name_or_path = facts.folder  # type: ignore[union-attr]
    return model


def configured(facts: ModelFacts) -> Any:
    """Return transformers' configuration of a model.

    Raises:
        PlanError: transformers cannot take its config.json, or the folder's own code fails.
    """
    from transformers import AutoConfig

    from swift.model.allowed import failed, may_run

    own = may_run(facts)
    try:
        return AutoConfig.from_pretrained(facts.folder, trust_remote_code=own)
    except Exception as error:  # whatever stands in the file reaches the constructor
        raise (failed(facts, error) if own else _unbuilt(facts, error)) from error


def _unbuilt(facts: ModelFacts, error: Exception) -> PlanError:
    """Return what to say when transformers builds nothing out of a config.json."""
    from swift.core.errors import PlanError, Problem

    said = " ".join(str(error).split())[:300] or "?"
    where = str(Path(facts.folder) / "config.json")
    if isinstance(error, ValueError):
        what = f"{facts.id}: transformers has no causal language model for it ({said})"
        return PlanError(Problem(where=where, what=what))
    what = f"transformers builds no model of it: {type(error).__name__}: {said}"
    return PlanError(Problem(where=where, what=what, fix="fetch the folder again"))


def bare(model: Any) -> Any:
    """Return transformers' model inside PEFT's, or `model` itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def attention_of(model: nn.Module) -> str:
    """Return the implementation of attention that a model really has; "" if it does not tell."""
    return str(getattr(getattr(bare(model), "config", None), "_attn_implementation", "") or "")


def _possible(config: Any, attention: str, own: str) -> str:
    """Return `attention`, or the next best that the architecture has.

    `own` is the folder whose code is the architecture; "" where it is transformers' own.
    """
    from transformers import AutoModelForCausalLM

    from swift.model.allowed import model_class

    mapping = AutoModelForCausalLM._model_mapping
    known = model_class(config, own) if own else mapping.get(type(config), None)
    if attention == "flash_attention_2" and not getattr(known, "_supports_flash_attn", False):
        attention = "sdpa"
    has = getattr(known, "_supports_sdpa", True)
    return "eager" if attention == "sdpa" and not has else attention


def stored_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that belong into the files of a model, by name."""
    return {
        f"{path}.{name}" if path else name: value
        for path, module in model.named_modules()
        for name, value in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    }


def _fill_buffers(model: nn.Module, folder: Path) -> None:
    """Give the buffers that the folder's files hold their values.

    Files may have a module under another name: last word and numbers of layers tell it.
    """
    from safetensors import safe_open

    from swift.model.facts import header, weight_files

    buffers = stored_buffers(model)
    if not buffers:
        return
    wanted = {_place(name): value for name, value in buffers.items()}
    for path in weight_files(folder):
        meant = {name: wanted[_place(name)] for name in header(path) if _place(name) in wanted}
        if not meant:
            continue
        with safe_open(path, framework="pt", device="cpu") as file:
            for name, value in meant.items():
                stored = file.get_tensor(name)
                if stored.shape == value.shape:
                    value.copy_(stored)


def _place(name: str) -> tuple[str, ...]:
    """Return the last word of a path and the numbers in it."""
    words = name.split(".")
    return (words[-1], *(word for word in words if word.isdecimal()))


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
