"""What stands in for a model or a data set that nobody named, said aloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from swift.recipe.reading import read
from swift.recipe.recipe import Recipe, default_dataset

BESIDE = Path("recipe.yaml")
"""The recipe of the working directory: read when no other is named and something is missing."""


def wished(
    path: Path | None,
    overrides: Sequence[tuple[str, Any]],
    verb: str | None,
    say: Callable[[str], None],
    given: frozenset[str] = frozenset(),
) -> Recipe:
    """Return the recipe of `path` and flags; `say` is told what stands in for what is missing.

    Args:
        path: A recipe. None: ./recipe.yaml, if model or data set are missing without it and its
            method is the verb's.
        overrides: Flags, as `read` takes them.
        verb: The command's verb, as `read` takes it.
        say: Gets one line, or none.
        given: Which of "model" and "dataset" are brought along as live objects.

    Raises:
        RecipeError: As `read`.
    """
    recipe = read(path, overrides, verb)
    silent = _silent(recipe, given)
    if silent and path is None and BESIDE.is_file():
        other = read(BESIDE)
        if verb in (None, "train", other.method.name) or "method" not in other.model_fields_set:
            say(f"no {' and no '.join(silent)} given, so ./{BESIDE} is read")
            recipe = read(BESIDE, overrides, verb)
            silent = _silent(recipe, given)
    if silent:
        used = {"model": recipe.model.id, "dataset": default_dataset(recipe.method)}
        say("; ".join(f"no {key} given, so `{used[key]}` is used" for key in silent))
    return recipe


def _silent(recipe: Recipe, given: frozenset[str]) -> list[str]:
    said = {"model": "id" in recipe.model.model_fields_set}
    folder = recipe.data.image_folder is not None
    said["dataset"] = folder or "dataset" in recipe.model_fields_set
    return [key for key, is_said in said.items() if not (is_said or key in given)]
