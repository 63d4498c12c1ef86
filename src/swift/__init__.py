"""The life of a large model on one street: Recipe -> Plan -> Run -> Checkpoint -> Engine.

Layers, each importing only from those below it (checked by `make imports`):

    cli                            verbs, flags, help
    api                            the Python doors
    run                            launch, train, the loop, export, evaluate
    serve                          the OpenAI-style API
    plan                           Recipe + facts + world -> Plan
    checkpoint                     a folder that knows where it comes from
    recipe                         what the user said
    method | parallel | engine     the loss | the placement | what generates
    quant | optimizer              fewer bits | the update
    tuner                          which weights are trained
    seam                           Batch, Outputs, Terms: what crosses between them
    model | dataset                weights and facts | rows to Samples to ids
    chat                           messages and the model's own template
    hub                            names to folders
    core                           errors, registries, schema, files, events
"""

__version__ = "0.1.0"
__all__ = [
    "LoRAConfig",
    "Result",
    "Swift",
    "SwiftModel",
    "__version__",
    "prepare_model",
    "train",
    "train_cpo",
    "train_dpo",
    "train_grpo",
    "train_kto",
    "train_orpo",
    "train_pt",
    "train_rm",
    "train_sft",
    "train_simpo",
]

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would take a fifth of the time of `swift --help`
    from typing import Any

    from swift.api import (
        LoRAConfig,
        Result,
        Swift,
        SwiftModel,
        prepare_model,
        train,
        train_cpo,
        train_dpo,
        train_grpo,
        train_kto,
        train_orpo,
        train_pt,
        train_rm,
        train_sft,
        train_simpo,
    )


def __dir__() -> "list[str]":
    return list(__all__)


def __getattr__(name: str) -> "Any":
    """Import the Python doors when one is first asked for: `swift --help` needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("swift.api"), name)
