"""A file and flags become a Recipe, or one error that names everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swift.core import yaml
from swift.core.check import Checker
from swift.core.errors import Problem, RecipeError
from swift.core.plugins import flagged, load_all
from swift.core.schema import Value, shown
from swift.core.yaml import Document
from swift.method import methods
from swift.recipe.presets import expand, presets_of
from swift.recipe.recipe import REGISTRIES, Recipe
from swift.recipe.rules import rules
from swift.recipe.said import Said
from swift.recipe.sections import Dataset
from swift.recipe.spelling import elsewhere
from swift.report import Report, reports
from swift.reward import Reward, rewards, spelled

_WORDS = ("task", "output_dir", "plugins")
"""The keys of a recipe that hold no section."""


def read(
    path: Path | None, overrides: Sequence[tuple[str, Any]] = (), verb: str | None = None
) -> Recipe:
    """Read the recipe at `path` (None: nothing but defaults), with flags laid over it.

    Args:
        path: A YAML 1.2 file.
        overrides: (name, value) of each flag, in order. A name is a path (`train.learning_rate`),
            another toolkit's spelling (`lr`) or a last word that is unique (`learning_rate`).
            Text is read as YAML 1.2; any other value is taken as it is.
        verb: The command's verb. A method's name asks for that method; `train` and None take the
            file's, else sft.

    Raises:
        RecipeError: With one Problem for each mistake, in the order of the file, flags last.
    """
    document = yaml.read(path) if path else Document()
    trouble = _plugins(document, str(path), overrides)  # before names are looked up
    said = Said(document, str(path or ""))
    said.flags(overrides)
    _name_flagged(said)
    _task_names_a_method(said)
    _settle_verb(said, verb)
    expand(said)
    checker = Checker(said.where, elsewhere)
    sound = _sound(said.tree, checker)
    # model_construct: what is sound has been validated key by key; the rules see no more of it
    broken = rules.broken(Recipe.model_construct(**sound), said.where)
    problems = [*trouble, *said.problems, *checker.problems, *broken]
    if problems:
        raise RecipeError(sorted(problems, key=_order))
    return Recipe(**sound)


def _plugins(document: Document, file: str, overrides: Sequence[tuple[str, Any]]) -> list[Problem]:
    """Load the plug-ins that are named; return what is wrong with them."""
    line = document.lines.get(("plugins",), 1)
    places = [(document.tree.get("plugins"), f"{file}:{line} plugins")]
    places += [(value, "--plugins") for name, value in overrides if name == "plugins"]
    problems: list[Problem] = []
    for said, where in places:
        names = [said] if isinstance(said, str) else said if isinstance(said, list | tuple) else []
        problems += load_all([name for name in names if isinstance(name, str)], where)
    return problems


def _name_flagged(said: Said) -> None:
    """Let the recipe name what `--plugins` on the command line has loaded."""
    named = said.tree.get("plugins", ())
    if flagged() and isinstance(named, list | tuple | str):
        named = [named] if isinstance(named, str) else [*named]
        more = [name for name in flagged() if name not in named]
        if more:
            said.put(("plugins",), [*named, *more], "--plugins")


def _sound(tree: Mapping[str, Any], checker: Checker) -> dict[str, Any]:
    """Return the values of what is sound in `tree`; of a section, as much as is sound."""
    values = {k: _section(k, said, checker) for k, said in tree.items() if k not in _WORDS}
    sound = {key: value for key, value in values.items() if value is not None}
    said = {key: tree[key] for key in _WORDS if key in tree}
    words = checker.value(Recipe, said, ()) if said else None
    if words:
        sound.update({key: value for key, value in words if key in words.model_fields_set})
    return sound


def _section(key: str, said: Any, checker: Checker) -> Any:
    if key in REGISTRIES:
        registry, default = REGISTRIES[key]
        if default is None and said in (None, {"name": None}):
            return None
        return checker.component(registry, said, (key,), default, presets_of(key))
    if key == "dataset":
        return _datasets(said, checker)
    if key == "reward":
        return _rewards(said, checker)
    if key == "report":
        return _reports(said, checker)
    cls = Recipe.model_fields[key].annotation
    assert isinstance(cls, type) and issubclass(cls, Value)
    return checker.value(cls, said, (key,))


def _datasets(said: Any, checker: Checker) -> tuple[Dataset, ...] | None:
    items = said if isinstance(said, list | tuple) else [said]
    if not items:
        checker.say("`dataset` is an empty list", ("dataset",), "name a data set, or a file")
    single = not isinstance(said, list | tuple)
    found = [
        checker.value(Dataset, item, ("dataset",) if single else ("dataset", i))
        for i, item in enumerate(items)
    ]
    return tuple(d for d in found if d is not None) or None


def _rewards(said: Any, checker: Checker) -> tuple[Reward, ...]:
    single = not isinstance(said, list | tuple)
    items = [] if said is None else [said] if single else said
    found = [
        item  # a live function of a Python caller
        if isinstance(item, Reward)
        else checker.component(
            rewards, spelled(item), ("reward",) if single else ("reward", i), None
        )
        for i, item in enumerate(items)
    ]
    return tuple(reward for reward in found if reward is not None)


def _reports(said: Any, checker: Checker) -> tuple[Report, ...]:
    single = not isinstance(said, list | tuple)
    items = [] if said is None else [said] if single else said
    found = [
        checker.component(reports, item, ("report",) if single else ("report", i), None)
        for i, item in enumerate(items)
    ]
    return tuple(report for report in found if report is not None)


def _task_names_a_method(said: Said) -> None:
    """`task: dpo` is read as `method: dpo`."""
    task = said.tree.get("task")
    if not isinstance(task, str) or task not in methods:
        return
    del said.tree["task"]
    method = said.name_of("method")
    if method is None:
        said.put(("method", "name"), task, said.where(("task",)))
    elif method != task:
        what = f"`task: {task}` means `method: {task}`, but the method is `{method}`"
        problem = Problem(what=what, fix="keep one of them", where=said.where(("task",)))
        said.problems.append(problem)


def _settle_verb(said: Said, verb: str | None) -> None:
    """A verb that is a method's name stands for `method`; it must not contradict it."""
    if verb is None or verb == "train":
        return
    method = said.name_of("method")
    if method is None:
        said.put(("method", "name"), verb, f"swift {verb}")
    elif method != verb and method in methods:
        what = f"the verb is `{verb}`, but the recipe says `method: {shown(method)}`"
        fix = f"run `swift {method}`, or leave `method` out"
        said.problems.append(Problem(what=what, fix=fix, where=said.where(("method",))))


def _order(problem: Problem) -> tuple[bool, int]:
    line = problem.where.split(" ")[0].rpartition(":")[2]
    return (problem.where.startswith("--"), int(line) if line.isdigit() else 0)
