"""What the guide asks and what comes of the answers: a recipe, its place, and the commands."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from swift.cli.words import word
from swift.core import env
from swift.core.errors import Problem, UserError
from swift.dataset.sources import find
from swift.method import methods
from swift.model.find import EMBEDDED, find_model
from swift.recipe import Recipe, read
from swift.recipe.recipe import default_dataset
from swift.recipe.sections import strategy_words
from swift.recipe.shipped import shipped

QUESTIONS = ("model", "method", "dataset", "strategy", "serve", "port")
"""In the order in which they are asked."""

Answers: TypeAlias = Mapping[str, Any]
"""Question -> answer; `task` besides, where a flag said it."""

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that will be done."""

    recipe: Recipe
    path: Path
    """Where the recipe will stand, beside its run."""

    folder: Path
    """The run."""

    goes_on: bool
    """Whether this very job was begun before and is unfinished."""

    serve: tuple[str, ...]
    """Words of the command that serves the run; () for none."""

    @property
    def train(self) -> tuple[str, ...]:
        """Words of the command that trains."""
        return (self.recipe.method.name, str(self.path))


def choices(key: str) -> tuple[str, ...]:
    """Return the words that question takes; () where any word may do."""
    if key == "method":
        return tuple(methods)
    if key == "strategy":
        return strategy_words()
    return ("yes", "no") if key in ("serve", "go") else ()


def default(key: str, answers: Answers) -> str:
    """Return the answer that is taken where nobody says, given the answers before it."""
    if key == "dataset":
        return default_dataset(methods.get(answers["method"]))
    if key == "port":
        return str(next((p for p in range(8000, 8100) if _free(p)), 0))
    simple = {"model": EMBEDDED, "method": "sft", "strategy": "auto", "serve": "yes", "go": "yes"}
    return simple[key]


def check(key: str, said: Any, answers: Answers) -> Any:
    """Return the answer that `said` is, in its plain spelling.

    Raises:
        UserError: It cannot be used, alone or beside the answers before it; says why.
    """
    if said is True or said == "":
        raise UserError(Problem(where=f"--{key}", what="it has no value", fix=f"--{key} VALUE"))
    if key in ("serve", "go"):
        return _yes_or_no(said)
    if key == "port":
        return _port(said)
    known = choices(key)
    if known and said not in known:
        what = word("guide.choose", value=said, choices=", ".join(known))
        raise UserError(Problem(what=what, where=key))
    if key == "model" and str(said).lower() != EMBEDDED:
        find_model(said, env.cache_home())
    if key == "dataset":
        for name in _listed(said):
            find(str(name))
    recipe_of({**answers, key: said})
    return said


def recipe_of(answers: Answers, folder: Path | None = None) -> Recipe:
    """Return the recipe of the answers so far; the rest has its defaults.

    The embedded model on its own task is trained as the shipped recipe says, which is known to
    teach it.

    Raises:
        RecipeError: They cannot stand together.
    """
    keys = {"model": "model", "dataset": "dataset", "strategy": "parallel.strategy"}
    flags = [(path, answers[key]) for key, path in keys.items() if key in answers]
    flags += [(key, answers[key]) for key in ("task", "method") if key in answers]
    if folder is not None:
        flags.append(("output_dir", str(folder)))
    home = (str(answers.get("model")), _listed(answers.get("dataset")), answers.get("method"))
    own = home == (EMBEDDED, ["nano-orders"], "sft") and answers.get("task") in (None, "chat")
    return read(shipped("nano-orders") if own else None, flags)


def job_of(answers: Answers) -> Job:
    """Return the job of a full set of answers, at a place of its own under runs/.

    The same answers again mean the same job while that is unfinished.

    Raises:
        RecipeError: The answers cannot stand together.
    """
    stem = f"{Path(answers['model']).name}-{answers['method']}"
    for number in count(1):
        folder = RUNS / f"{stem}-{number:03d}"
        path = folder.with_suffix(".yaml")
        recipe = recipe_of(answers, folder)
        fresh = not path.exists() and not folder.exists()
        goes_on = not fresh and _unfinished(path, folder, recipe)
        if fresh or goes_on:
            break
    serve = ("serve", str(folder), "--port", str(answers["port"]))
    wanted = answers["serve"] == "yes"
    return Job(
        recipe=recipe,
        path=path,
        folder=folder,
        goes_on=goes_on and folder.exists(),
        serve=serve if wanted else (),
    )


def _unfinished(path: Path, folder: Path, recipe: Recipe) -> bool:
    from swift.run.folder import finished

    try:
        same = path.read_text(encoding="utf-8") == recipe.dump()
    except (OSError, ValueError):
        return False
    return same and not finished(folder)


def _listed(said: Any) -> Sequence[Any]:
    return said if isinstance(said, list) else [] if said is None else [said]


def _yes_or_no(said: Any) -> str:
    for meant in choices("go"):
        if str(said).strip().lower() in word(f"guide.{meant}").split():
            return meant
    what = word("guide.choose", value=said, choices=", ".join(choices("go")))
    raise UserError(Problem(what=what))


def _port(said: Any) -> str:
    text = str(said)
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) <= 65535):
        raise UserError(Problem(where="port", what=word("guide.whole", value=said)))
    if int(text) and not _free(int(text)):
        raise UserError(Problem(where="port", what=word("guide.taken", value=said)))
    return str(int(text))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
