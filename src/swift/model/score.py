"""Reward models: an architecture with a head of one number a position instead of one of words.

The layout is transformers' for sequence classification: a Linear without bias called `score` on
the same layers, `num_labels` 1, and `pad_token_id`, by which it finds a sequence's last token.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from swift.core.errors import PlanError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Generator, Tensor, nn

    from swift.chat.tokenize import Tokenizer
    from swift.model.facts import ModelFacts

HEAD = "score"
"""The head's name in transformers' layout."""

WEIGHT = f"{HEAD}.weight"

_CLASS = "ForSequenceClassification"
_OTHERS = re.compile(rf"(ForCausalLM|LMHeadModel|ForConditionalGeneration|{_CLASS})$")
_FIX = "take a model of another family, such as Qwen3, Llama, Mistral, Gemma 3 or `nano`"


def class_name(architecture: str) -> str:
    """Return the name of the class that scores: Qwen3ForCausalLM -> Qwen3ForSequenceClassification.

    The names are transformers' rule; whether there is such a class, transformers says.
    """
    return _OTHERS.sub("", architecture) + _CLASS


def is_scorer(architecture: str) -> bool:
    """Whether a model of this class scores instead of speaking."""
    return architecture.endswith(_CLASS)


def adds_score(adapter: Path) -> bool:
    """Whether a PEFT adapter's folder holds a head of one number, or says so."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return isinstance(config, dict) and HEAD in (config.get("modules_to_save") or ())


def lacks_class(id: str, architecture: str) -> Problem:
    """Return the refusal of a model that transformers has no class with such a head for."""
    what = f"transformers has no {class_name(architecture)}, so {id} cannot become a reward model"
    return Problem(where="model", what=what, fix=_FIX)


def lacks_words(id: str) -> Problem:
    """Return the refusal of a reward model where one that speaks is wanted."""
    what = f"{id} is a reward model: it scores answers, and has no head for words"
    return Problem(where="model", what=what, fix="give the model that it shall judge")


def fit(config: Any, facts: ModelFacts) -> None:
    """Set a configuration to one score a sequence.

    Raises:
        PlanError: transformers has no class for it.
    """
    from transformers import AutoModelForSequenceClassification

    known = AutoModelForSequenceClassification._model_mapping.get(type(config), None)
    if known is None or facts.code is not None:
        raise PlanError(lacks_class(facts.id, facts.architecture))
    config.num_labels = 1
    config.architectures = [known.__name__]


def pad_in(model: nn.Module, facts: ModelFacts) -> None:
    """Tell a model what fills short rows, without which transformers takes no two of them.

    It is told when it is built: `padding_idx` would keep the token's embedding as it is.
    """
    from swift.chat.tokenize import Tokenizer

    config: Any = model.config
    config.get_text_config().pad_token_id = pad_of(Tokenizer.load(facts.voice))


def pad_of(tokenizer: Tokenizer) -> int:
    """Return what fills short rows of a reward model.

    transformers reads the score at the last token that is not this one, so it must not be the
    one that ends a text, where there is another: the one that begins it, which never comes last.
    """
    begins = tokenizer.bos_id
    if tokenizer.pad_id != tokenizer.eos_id or begins in (None, tokenizer.eos_id):
        return tokenizer.pad_id
    assert begins is not None
    return begins


def fills_with(folder: Path, tokenizer: Tokenizer) -> None:
    """Let the tokenizer_config.json of a folder name the same token for short rows."""
    path = folder / "tokenizer_config.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    said["pad_token"] = tokenizer.backend.id_to_token(pad_of(tokenizer))
    path.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def holds_head(folder: Path) -> bool:
    """Whether the weights in a model's folder have such a head already."""
    from swift.model.facts import header, weight_files

    return any(WEIGHT in header(file) for file in weight_files(folder))


def first_value(model: nn.Module, like: Tensor, random: Generator) -> Tensor:
    """Return the head's first weight, as transformers draws it: normal, `initializer_range` wide.

    Not zero: the layers below would get no gradient in the first step, and all scores be equal.
    """
    import torch

    config: Any = model.config
    text = config.get_text_config()
    width = getattr(text, "initializer_range", None) or 0.02
    return torch.empty(like.shape, dtype=torch.float32).normal_(0.0, width, generator=random)
