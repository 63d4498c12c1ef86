"""The Python doors: what `from swift import …` gives.

    from swift import Swift, LoRAConfig, prepare_model, train

    model, tokenizer = prepare_model("nano")
    model = Swift.prepare_model(model, LoRAConfig(r=8))
    result = train(model=model, dataset="nano-orders", max_steps=20)

Options are those of a recipe, under any name that the command line knows. Live models, tokenizers
and rows travel beside the recipe; everything else is the same run as `swift train`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swift.api.arguments import is_dtype, is_path, require
from swift.api.live import LoRAConfig, adapted, tuner_of
from swift.api.result import Result
from swift.core import env
from swift.core.errors import PlanError, Problem, RecipeError, UserError
from swift.recipe.absent import wished

if TYPE_CHECKING:
    from torch import nn

    from swift.recipe import Recipe

env.without_advice_of_bitsandbytes()
env.patient_threads()

__all__ = [
    "LoRAConfig",
    "Result",
    "Swift",
    "SwiftModel",
    "prepare_model",
    "train",
    "train_dpo",
    "train_rm",
]


def train(
    model: str | nn.Module | None = None,
    dataset: Any = None,
    *,
    ref_model: str | nn.Module | None = None,
    tokenizer: Any = None,
    processing_class: Any = None,
    train_dataset: Any = None,
    eval_dataset: Any = None,
    data_args: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    verb: str | None = None,
    **options: Any,
) -> Result:
    """Train as `swift train` does, and return what came of it.

    Args:
        model: A name, a folder, a run, or a live model of transformers or PEFT, trained in place.
        dataset: A name, a path, a list of them, or rows: any iterable of maps, such as a
            `datasets.Dataset`.
        ref_model: The reference of dpo, where it is not the model itself: a name or a live model.
        tokenizer: Of a live model whose `name_or_path` leads to none.
        processing_class: Another name for `tokenizer`.
        train_dataset: Another name for `dataset`.
        eval_dataset: Rows, a name or a share to validate on.
        data_args: Options of `data`, as a map.
        recipe: A YAML file that the other options are laid over.
        verb: The method, where a recipe shall not choose it.
        options: Keys of a recipe by path, last word or another toolkit's spelling: lora_rank=8,
            max_epochs=3, use_qlora=True, output_dir="out".

    Raises:
        SwiftError: As on the command line; all mistakes are told at once.
    """
    from swift.run.given import Given
    from swift.run.launch import launch

    require(
        (recipe is None or is_path(recipe), "recipe", recipe, "the path of a YAML file"),
        (data_args is None or isinstance(data_args, Mapping), "data_args", data_args, "a map"),
    )
    rows = dataset if train_dataset is None else train_dataset
    said: list[tuple[str, Any]] = []
    models: dict[str, nn.Module] = {}
    if isinstance(model, str | Path):
        said.append(("model", str(model)))
    elif model is not None:
        models["policy"] = _live(model, "model")
    if isinstance(ref_model, str | Path):
        said.append(("method.reference", str(ref_model)))
    elif ref_model is not None:
        models["reference"] = _live(ref_model, "ref_model")
    named, live_rows = _rows(rows)
    held_name, live_held = _rows(eval_dataset)
    said += [("dataset", named)] if named is not None else []
    said += [("data.validation", held_name)] if held_name is not None else []
    said += [(f"data.{key}", value) for key, value in (data_args or {}).items()]
    said += [(k, str(v) if isinstance(v, Path) else v) for k, v in options.items()]
    facts = None
    if "policy" in models:
        facts, own = tuner_of(models["policy"], tokenizer or processing_class)
        said = [("model.id", facts.id), *own, *said]
    there = {"model"} if "policy" in models else set()
    there |= {"dataset"} if live_rows is not None else set()
    wish = _wished(Path(recipe) if recipe else None, said, verb, frozenset(there))
    given = Given(models=models, rows=live_rows, validation=live_held, facts=facts)
    return Result.of(launch(wish, given), models.get("policy"))


def train_dpo(
    model: str | nn.Module | None = None,
    ref_model: str | nn.Module | None = None,
    dataset: Any = None,
    **options: Any,
) -> Result:
    """Train by direct preference optimisation, on pairs of answers; see `train`."""
    return train(model, dataset, ref_model=ref_model, verb="dpo", **options)


def train_rm(model: str | nn.Module | None = None, dataset: Any = None, **options: Any) -> Result:
    """Train a reward model on pairs of answers; see `train`.

    A live model is one of AutoModelForSequenceClassification with `num_labels=1`.
    """
    return train(model, dataset, verb="rm", **options)


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
        _live(model, "model")
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


def _live(model: Any, where: str) -> nn.Module:
    if not hasattr(model, "named_parameters"):
        what = f"a {type(model).__name__} is no model"
        raise UserError(Problem(where=where, what=what, fix="a name, a folder, or a live model"))
    return cast("nn.Module", model)


def _rows(said: Any) -> tuple[Any, list[Mapping[str, Any]] | None]:
    """Return (what a recipe can name, None) or (None, rows)."""
    if said is None or isinstance(said, str | Path | float | int):
        return (str(said) if isinstance(said, Path) else said), None
    if isinstance(said, Mapping):
        return said, None
    if not isinstance(said, Iterable):
        what = f"a {type(said).__name__} holds no rows"
        raise UserError(
            Problem(where="dataset", what=what, fix="a name, a path, or a list of maps")
        )
    items = list(said)
    if items and all(isinstance(i, str | Path) for i in items):
        return [str(i) for i in items], None
    broken = next((n for n, i in enumerate(items, 1) if not isinstance(i, Mapping)), None)
    if broken is not None:
        what = f"row {broken} is a {type(items[broken - 1]).__name__}, not a map"
        raise UserError(Problem(where="dataset", what=what, fix="rows like {'messages': [...]}"))
    return None, [dict(i) for i in items]


def _wished(
    path: Path | None, said: list[tuple[str, Any]], verb: str | None, there: frozenset[str]
) -> Recipe:
    """Read the recipe; options are named here as Python names them, without dashes."""
    try:
        return wished(path, said, verb, _aloud, there)
    except RecipeError as error:
        raise RecipeError(
            [replace(p, where=p.where.removeprefix("--")) for p in error.problems]
        ) from None


def _aloud(text: str) -> None:
    if env.ranks().rank == 0:
        sys.stderr.write(text + "\n")
