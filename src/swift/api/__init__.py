"""The Python doors: what `from swift import …` gives.

    from swift import Swift, LoRAConfig, prepare_model, train

    model, tokenizer = prepare_model("nano")
    model = Swift.prepare_model(model, LoRAConfig(r=8))
    result = train(model=model, dataset="nano-orders", max_steps=20)

Options are those of a recipe, under any name that the command line knows. Live models, tokenizers,
rows and reward functions travel beside the recipe; everything else is the same run as
`swift train`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.api.arguments import is_dtype, is_path, live_model, require
from swift.api.live import LoRAConfig, adapted
from swift.api.result import Result
from swift.api.training import (
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
from swift.core import env
from swift.core.errors import PlanError, Problem

if TYPE_CHECKING:
    from torch import nn

env.without_advice_of_bitsandbytes()
env.patient_threads()

__all__ = [
    "LoRAConfig",
    "Result",
    "Swift",
    "SwiftModel",
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


def prepare_model(
    model: str | Path, *, revision: str = "", trust_remote_code: bool = False, **options: Any
) -> tuple[Any, Any]:
    """Return (model, tokenizer) of transformers for a name, a folder or a run.

    Args:
        model: A name (qwen-7b), a hub's id, a folder, or a run; a run of an adapter gives PEFT's
            model with the adapter trainable, and one of a reward model a sequence classifier.
        revision: Branch, tag or commit of it at its hub.
        trust_remote_code: Run the code in the model's folder, where nothing else computes it.
        options: Passed on to `AutoModelForCausalLM.from_pretrained`. The type of the weights is
            the stored one, unless `dtype` says another.

    Raises:
        UserError: An argument is of another type.
        PlanError: There is no such model, or only code of its own computes it, which is not
            allowed.
    """
    dtype = options.get("dtype", "auto")
    require(
        (is_path(model), "model", model, "a name or a folder"),
        (isinstance(revision, str), "revision", revision, "a branch, a tag or a commit"),
        (isinstance(trust_remote_code, bool), "trust_remote_code", trust_remote_code, "a bool"),
        (is_dtype(dtype), "dtype", dtype, "auto, bfloat16, float16, float32 or float64"),
    )
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from swift.checkpoint import served
    from swift.model.allowed import may_run
    from swift.model.facts import read_facts
    from swift.model.skeleton import configured
    from swift.model.structures import enrol
    from swift.tuner import applied

    named = str(model)
    what = served(named, revision=revision, trust=trust_remote_code)
    enrol()
    facts = read_facts(named, what.folder, trust=trust_remote_code)
    configured(facts)  # what is wrong in config.json is said before the weights are read
    own = may_run(facts)
    options = {"dtype": "auto", **options, "trust_remote_code": own}
    auto: Any = AutoModelForSequenceClassification if what.scores else AutoModelForCausalLM
    options |= {"num_labels": 1} if what.scores else {}
    found: Any = auto.from_pretrained(what.folder, **options)
    if what.adapter is not None:
        found = applied(found, what.adapter, trainable=True)
    return found, _tokenizer(what.speech, own)


def _tokenizer(folder: Path, own: bool) -> Any:
    """Return transformers' tokenizer of a folder; no code of the folder's own is run for it.

    `own` says that the model's code was allowed. That is what config.json names: a tokenizer's
    code may stand anywhere, and tokenizer.json says all that it does.

    Raises:
        PlanError: Only code of its own reads the folder's tokenizer.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if own and (folder / "tokenizer.json").is_file():
            return PreTrainedTokenizerFast.from_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever stands in the files reaches the constructor
        said = (str(error).splitlines() or ["?"])[0]
        what = f"transformers cannot read the tokenizer of {folder} ({said})"
        fix = "save it as a fast tokenizer: tokenizer.save_pretrained(folder)"
        raise PlanError(Problem(where="model", what=what, fix=fix)) from error


class Swift:
    """Adapters on live models, under the name that users of ms-swift know."""

    @staticmethod
    def prepare_model(model: nn.Module, config: LoRAConfig | Mapping[str, Any] | Any) -> Any:
        """Return `model` with a fresh adapter; only the adapter is trained.

        Args:
            model: A live model; it is changed in place.
            config: A LoRAConfig, a map of its fields, or a configuration of PEFT.

        Returns:
            PEFT's model: it trains with `train`, and saves and merges by PEFT's own methods.

        Raises:
            UserError: The model has an adapter already, or an option is unknown.
            PlanError: The configuration fits no layer.
        """
        return adapted(model, config)

    @staticmethod
    def from_pretrained(model: nn.Module, adapter: str | Path) -> Any:
        """Return `model` with an adapter from a run, a checkpoint or a PEFT folder, trainable.

        Raises:
            UserError: An argument is of another type.
            PlanError: There is no adapter, or a broken one.
        """
        live_model(model, "model")
        require((is_path(adapter), "adapter", adapter, "a run or a folder"))
        from swift.checkpoint import newest
        from swift.tuner import applied

        folder = Path(adapter).expanduser()
        return applied(model, newest(folder) or folder, trainable=True)


class SwiftModel:
    """`SwiftModel(model, config)` is `Swift.prepare_model(model, config)`."""

    def __new__(cls, model: nn.Module, config: LoRAConfig | Mapping[str, Any] | Any) -> Any:
        """Return `model` with a fresh adapter."""
        return adapted(model, config)

    from_pretrained = staticmethod(Swift.from_pretrained)
