"""What cannot be done here: each rule looks at one thing, all are asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swift.core.errors import Problem, SwiftError
from swift.core.machine import Machine
from swift.model.abilities import abilities, served
from swift.model.facts import ModelFacts, read_config
from swift.model.score import class_name, is_scorer, lacks_class, lacks_words
from swift.plan.device import HALF, lacks_flash
from swift.recipe import Recipe

Rule = Callable[[Recipe, ModelFacts, Machine], Problem | None]
_rules: list[Rule] = []


def rule(check: Rule) -> Rule:
    """Add a check of what cannot be done here; all are run, all problems are reported."""
    _rules.append(check)
    return check


def broken(recipe: Recipe, facts: ModelFacts, here: Machine) -> list[Problem]:
    """Return what all rules say."""
    return [problem for check in _rules if (problem := check(recipe, facts, here))]


@rule
def _tp_divides_heads(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """Tensor parallelism splits attention by key/value heads."""
    tp = recipe.parallel.tensor_model_parallel_size
    if facts.kv_heads % tp == 0:
        return None
    good = [d for d in range(1, facts.kv_heads + 1) if facts.kv_heads % d == 0]
    return Problem(
        where="parallel.tensor_model_parallel_size",
        what=f"it is {tp}, but {facts.id} has {facts.kv_heads} key/value heads",
        fix=f"one of {good}",
    )


@rule
def _enough_gpus(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """One process drives one device."""
    wanted = recipe.parallel.nproc_per_node
    if wanted == "auto" or not here.count or wanted <= here.count:
        return None
    return Problem(
        where="parallel.nproc_per_node",
        what=f"it is {wanted}, but this process may use {here.describe()}",
        fix=f"at most {here.count}",
    )


@rule
def _trains_whole_layers_nowhere(
    recipe: Recipe, facts: ModelFacts, here: Machine
) -> Problem | None:
    """A training that passes from device to device keeps all but one of them waiting."""
    said = recipe.model.device_map
    if said in ("auto", "none"):
        return None
    fix = "leave it out; parallel: fsdp shards the weights over devices, ddp copies them"
    what = f"it is {said}, which is for answering: a training is spread by `parallel`"
    return Problem(where="model.device_map", what=what, fix=fix)


@rule
def _has_flash(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """flash_attention_2 wants its package, devices that it has kernels for, and half types."""
    if recipe.model.attention != "flash_attention_2":
        return None
    dtype = recipe.model.dtype
    lack = lacks_flash(here) or ("" if dtype in ("auto", *HALF) else f"it knows no {dtype}")
    fix = "attention: sdpa, whose kernels come with torch"
    return Problem(where="model.attention", what=lack, fix=fix) if lack else None


@rule
def _fits_context(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """Positions beyond what the model was made for are noise to it."""
    if not facts.context or recipe.data.max_length <= facts.context:
        return None
    if "max_length" not in recipe.data.model_fields_set:
        return None  # the default is cut to the model's own length while encoding
    return Problem(
        where="data.max_length",
        what=f"it is {recipe.data.max_length}, but {facts.id} reads at most {facts.context} tokens",
        fix=f"max_length: {facts.context}",
    )


@rule
def _has_the_head(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """A reward model says a number, any other words."""
    scores = is_scorer(facts.architecture)
    if "score" not in recipe.method.needs:
        return lacks_words(facts.id) if scores else None
    if facts.given:
        what = f"a live {facts.architecture} has no head that says a number"
        fix = "AutoModelForSequenceClassification.from_pretrained(name, num_labels=1), or its name"
        return None if scores else Problem(where="model", what=what, fix=fix)
    known = abilities(facts.model_type, class_name(facts.architecture))
    return lacks_class(facts.id, facts.architecture) if known is None or facts.code else None


@rule
def _can_draw(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """An online method learns from answers that an engine draws."""
    if recipe.method.wants != "prompts" or recipe.engine.name != "torch" or not facts.folder:
        return None
    why = None if facts.code else served(read_config(Path(facts.folder)))
    if not why:
        return None
    what = f"the torch engine cannot draw answers of {facts.architecture}: {why}"
    return Problem(where="method", what=what, fix="another model, or a method that draws none")


def ragged_groups(recipe: Recipe, batch: int) -> Problem | None:
    """Return that a rollout of `batch` answers a step does not ask whole questions, if so it is."""
    group = getattr(recipe.method, "group", 1)
    answers = batch * getattr(recipe.method, "steps", 1)
    if answers % group == 0:
        return None
    what = f"a rollout of {answers} answers is no multiple of `group`, the {group} to each question"
    return Problem(
        where="train.batch_size", what=what, fix=f"batch_size: {-(-batch // group) * group}"
    )


def of_data(recipe: Recipe) -> list[Problem]:
    """Return what is wrong with the names of the recipe's data sets."""
    from swift.dataset.pictures import pictures
    from swift.dataset.sources import find

    problems: list[Problem] = []
    folder = recipe.data.image_folder
    named = [(d.name, d.subset, d.split) for d in recipe.dataset if d.name != folder]
    if folder is not None and len(named) < len(recipe.dataset):
        try:
            next(pictures(folder), None)
        except SwiftError as error:
            problems += error.problems
    if isinstance(recipe.data.validation, str):
        named.append((recipe.data.validation, "", ""))
    for name, subset, split in named:
        try:
            find(name, subset=subset, part=split)
        except SwiftError as error:
            problems += error.problems
    return problems
