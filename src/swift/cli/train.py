"""`swift train`, `swift sft`, `swift dpo`: from a recipe to a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from swift.cli.flags import Line, split
from swift.core import env, yaml
from swift.core.errors import Problem, RecipeError, SwiftError
from swift.recipe import Recipe
from swift.recipe.absent import wished
from swift.recipe.sections import Parallel
from swift.recipe.spelling import takes_list

_ALONE = frozenset({"help", "dry_run"})


def main(verb: str, words: list[str]) -> int:
    """Train as the command line says and return the exit code.

    Raises:
        SwiftError: The recipe, the plan or the run failed.
    """
    line = split(words, alone=_ALONE, many=lambda name: bool(takes_list(name)))
    wants_help, line = line.pick("help")
    if wants_help:
        from swift.cli.options import page

        print(page(verb))
        return 0
    folder, line = line.pick("resume", "resume_from_checkpoint")
    if folder is not None:
        return _resume(folder, line)
    dry, line = line.pick("dry_run")
    try:
        recipe = wish(verb, line)
    except SwiftError as error:
        if env.ranks().rank:
            _call("swift.run.launch:differs", error)
        raise
    if dry:
        print(_call("swift.plan:resolve", recipe).describe())
        return 0
    _call("swift.run.launch:launch", recipe)
    return 0


def wish(verb: str, line: Line) -> Recipe:
    """Read the recipe and say aloud what stands in for a model or a data set nobody named."""
    named, line = line.pick("config")
    files = [*line.files, *([named] if isinstance(named, str) else [])]
    if len(files) > 1:
        what = f"one recipe at a time, not {len(files)}: " + ", ".join(f"`{f}`" for f in files)
        raise RecipeError(Problem(what=what, fix="values of a flag stand right after it"))
    path = Path(files[0]) if files else None
    if verb == "rm" and path is not None and path.is_dir():
        raise RecipeError(_deletes_nothing(path))
    return wished(path, _overrides(line.flags), verb, _aloud)


def _deletes_nothing(path: Path) -> Problem:
    what = f"`swift rm` trains a reward model and deletes nothing, and `{path}` is a folder"
    return Problem(what=what, fix=f"rm -r {path}, to delete it; a recipe or --model, to train")


def _aloud(text: str) -> None:
    if env.ranks().rank == 0:
        print(text, file=sys.stderr)


def _overrides(flags: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the flags, those of one list joined: `--dataset a --dataset b` is `--dataset a b`."""
    joined: dict[str, list[Any]] = {}
    out: list[tuple[str, Any]] = []
    for name, value in flags:
        lists = takes_list(name)
        if not lists or value is True:
            out.append((name, value))
            continue
        items = value if isinstance(value, list) else [_read(name, value)]
        if name not in joined:
            joined[name] = []
            out.append((name, joined[name]))
        joined[name] += [i for item in items for i in (item if isinstance(item, list) else [item])]
    return [(name, _single(name, value)) for name, value in out]


def _read(name: str, text: str) -> Any:
    try:
        return yaml.flag(text)
    except ValueError as error:
        raise RecipeError(Problem(what=str(error), where=f"--{name}")) from error


def _single(name: str, value: Any) -> Any:
    """Return the one item of a list where the key also takes a word by itself."""
    alone = isinstance(value, list) and len(value) == 1 and takes_list(name) == "or a word"
    return value[0] if alone else value


def _resume(folder: Any, line: Line) -> int:
    if not isinstance(folder, str):
        raise RecipeError(Problem(what="`--resume` names no run", fix="--resume runs/NAME"))
    more = [*line.files, *(f"--{name}" for name, _ in line.flags if not _spreads(name))]
    if more:
        what = f"a resumed run keeps its recipe, so it takes no {', '.join(more)}"
        fix = "leave them out; only `parallel` may be another, as --nproc_per_node 1"
        raise RecipeError(Problem(what=what, where="--resume", fix=fix))
    if not Path(folder).is_dir():
        what = f"there is no folder `{folder}`"
        raise RecipeError(Problem(what=what, where="--resume", fix="`swift runs` lists them"))
    _call("swift.run.launch:resume", Path(folder), _overrides(line.flags))
    return 0


def _spreads(name: str) -> bool:
    """Return whether a flag says how the work is spread over processes, and nothing else."""
    section, _, key = name.replace("-", "_").rpartition(".")
    return name == "parallel" or (section in ("", "parallel") and key in Parallel.model_fields)


def _call(place: str, *arguments: Any) -> Any:
    """Import "module:function" and call it: the layers above import torch, so they come late."""
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)(*arguments)
