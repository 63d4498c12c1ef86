"""Training from Python: `train`, and a door of its own for each method."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from swift.api.arguments import is_path, judging, live_model, require
from swift.api.live import tuner_of
from swift.api.result import Result
from swift.core import env
from swift.core.errors import Problem, RecipeError, UserError
from swift.recipe.absent import wished

if TYPE_CHECKING:
    from torch import nn

    from swift.recipe import Recipe

Model: TypeAlias = Union[str, "nn.Module", None]


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
    reward: Any = None,
    reward_weights: Sequence[float] | None = None,
    recipe: str | Path | None = None,
    verb: str | None = None,
    **options: Any,
) -> Result:
    """Train as `swift train` does, and return what came of it.

    Args:
        model: A name, a folder, a run, or a live model of transformers or PEFT, trained in place.
        dataset: A name, a path, a list of them, or rows: any iterable of maps, such as a
            `datasets.Dataset`.
        ref_model: The reference of dpo or kto, where it is not the model itself: a name or a live
            model.
        tokenizer: Of a live model whose `name_or_path` leads to none.
        processing_class: Another name for `tokenizer`.
        train_dataset: Another name for `dataset`.
        eval_dataset: Rows, a name or a share to validate on.
        data_args: Options of `data`, as a map.
        reward: What judges drawn answers: a name, FILE.py:FUNCTION, a map of options, a function
            (see docs/rewards.md), or a list of them. TRL's `reward_funcs` is another name.
        reward_weights: The weight of each of them.
        recipe: A YAML file that the other options are laid over.
        verb: The method, where a recipe shall not choose it.
        options: Keys of a recipe by path, last word or another toolkit's spelling: lora_rank=8,
            max_epochs=3, use_qlora=True, output_dir="out".

    Raises:
        SwiftError: As on the command line; all mistakes are told at once.
    """
    from swift.reward.function import Function
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
        models["policy"] = live_model(model, "model")
    if isinstance(ref_model, str | Path):
        said.append(("method.reference", str(ref_model)))
    elif ref_model is not None:
        models["reference"] = live_model(ref_model, "ref_model")
    named, live_rows = _rows(rows)
    held_name, live_held = _rows(eval_dataset)
    said += [("dataset", named)] if named is not None else []
    said += [("data.validation", held_name)] if held_name is not None else []
    judges = judging(reward, reward_weights, options.pop("reward_funcs", None))
    said += [] if judges is None else [("reward", judges)]
    said += [(f"data.{key}", value) for key, value in (data_args or {}).items()]
    said += [(k, str(v) if isinstance(v, Path) else v) for k, v in options.items()]
    facts = None
    if "policy" in models:
        facts, own = tuner_of(models["policy"], tokenizer or processing_class)
        said = [("model.id", facts.id), *own, *said]
    there = {"model"} if "policy" in models else set()
    there |= {"dataset"} if live_rows is not None else set()
    wish = _wished(Path(recipe) if recipe else None, said, verb, frozenset(there))
    live = tuple(judge for judge in wish.reward if isinstance(judge, Function) and judge.is_live)
    given = Given(models=models, rows=live_rows, validation=live_held, facts=facts, rewards=live)
    return Result.of(launch(wish, given), models.get("policy"))


def train_sft(model: Model = None, dataset: Any = None, **options: Any) -> Result:
    """Train on answers; see `train`."""
    return train(model, dataset, verb="sft", **options)


def train_pt(model: Model = None, dataset: Any = None, **options: Any) -> Result:
    """Train on every token of texts; see `train`."""
    return train(model, dataset, verb="pt", **options)


def train_rm(model: Model = None, dataset: Any = None, **options: Any) -> Result:
    """Train a reward model on pairs of answers; see `train`.

    A live model is one of AutoModelForSequenceClassification with `num_labels=1`.
    """
    return train(model, dataset, verb="rm", **options)


def train_dpo(
    model: Model = None, ref_model: Model = None, dataset: Any = None, **options: Any
) -> Result:
    """Train by direct preference optimisation, on pairs of answers; see `train`."""
    return train(model, dataset, ref_model=ref_model, verb="dpo", **options)


def train_kto(
    model: Model = None, ref_model: Model = None, dataset: Any = None, **options: Any
) -> Result:
    """Train on answers marked good or bad; see `train`."""
    return train(model, dataset, ref_model=ref_model, verb="kto", **options)


def train_orpo(model: Model = None, dataset: Any = None, **options: Any) -> Result:
    """Train by the odds of answers, on pairs of them; see `train`."""
    return train(model, dataset, verb="orpo", **options)


def train_cpo(model: Model = None, dataset: Any = None, **options: Any) -> Result:
    """Train by contrastive preference optimisation, on pairs of answers; see `train`."""
    return train(model, dataset, verb="cpo", **options)


def train_simpo(model: Model = None, dataset: Any = None, **options: Any) -> Result:
    """Train by mean log-probabilities, on pairs of answers; see `train`."""
    return train(model, dataset, verb="simpo", **options)


def train_grpo(
    model: Model = None, dataset: Any = None, reward: Any = None, **options: Any
) -> Result:
    """Train on answers that the model draws and `reward` judges; see `train`."""
    return train(model, dataset, reward=reward, verb="grpo", **options)


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
