"""What a Python caller gave, looked at before anything reads it: types alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swift.core.errors import Problem, UserError

if TYPE_CHECKING:
    from torch import nn


def require(*looks: tuple[bool, str, Any, str]) -> None:
    """Do nothing where all is well.

    Args:
        looks: (whether it is well, the argument's name, what was given, what it takes).

    Raises:
        UserError: Something is not; names all of them.
    """
    problems = [
        Problem(where=name, what=f"{_shown(given)} is none", fix=f"it takes {wants}")
        for well, name, given, wants in looks
        if not well
    ]
    if problems:
        raise UserError(problems)


def is_path(said: Any) -> bool:
    """Return whether `said` may be a name or a path: text that a file system takes."""
    if not isinstance(said, str | Path):
        return False
    try:
        return b"\0" not in str(said).encode()
    except UnicodeEncodeError:
        return False


def is_dtype(said: Any) -> bool:
    """Return whether `said` is one of torch's types of fractions, by itself or by its name."""
    return said is None or str(said).removeprefix("torch.") in (
        "auto",
        "bfloat16",
        "float16",
        "float32",
        "float64",
    )


def live_model(model: Any, where: str) -> nn.Module:
    """Return `model`, which is one.

    Raises:
        UserError: It is something else.
    """
    if not hasattr(model, "named_parameters"):
        what = f"a {type(model).__name__} is no model"
        raise UserError(Problem(where=where, what=what, fix="a name, a folder, or a live model"))
    return cast("nn.Module", model)


def judging(reward: Any, weights: Sequence[float] | None, also: Any = None) -> Any:
    """Return what a recipe takes under `reward`: functions are made rewards, weights their option.

    Args:
        reward: A name, a map of options, a function, or a list of them; None for nothing.
        weights: One for each, or None.
        also: The same under another toolkit's name.

    Raises:
        UserError: Both names are used, a live model is given, or weights are of another number.
    """
    named = "reward" if reward is not None else "reward_funcs"
    require((reward is None or also is None, "reward_funcs", also, "nothing beside `reward`"))
    said = reward if reward is not None else also
    if said is None:
        require((weights is None, "reward_weights", weights, "`reward`, too"))
        return None
    if isinstance(said, str) and said[:1] not in ("[", "{"):  # else it is YAML
        said = [word.strip() for word in said.split(",")]
    elif isinstance(said, str) and weights is None:
        return said
    items = list(said) if isinstance(said, list | tuple) else [said]
    if weights is not None and len(weights) != len(items):
        what = f"there are {len(weights)} weights for {len(items)} rewards"
        fix = "give one for each"
        raise UserError(Problem(where="reward_weights", what=what, fix=fix))
    each = [None] * len(items) if weights is None else weights
    return [_judge(item, weight, named) for item, weight in zip(items, each, strict=True)]


def _judge(item: Any, weight: float | None, where: str) -> Any:
    from pydantic import ValidationError

    from swift.reward.function import Function

    if hasattr(item, "named_parameters"):
        what = f"a live {type(item).__name__} is no reward"
        fix = "save it, and write {'name': 'model', 'id': FOLDER}"
        raise UserError(Problem(where=where, what=what, fix=fix))
    more = {} if weight is None else {"weight": weight}
    if callable(item):
        try:
            return Function.of(item, **more)
        except ValidationError as error:
            what, fix = f"a reward's weight is `{weight}`", "give a number from -1e6 to 1e6"
            raise UserError(Problem(where="reward_weights", what=what, fix=fix)) from error
    if isinstance(item, str) and more:
        return {"name": item, **more}
    return {**item, **more} if isinstance(item, Mapping) else item


def _shown(given: Any) -> str:
    kind = type(given).__name__
    return f"{ascii(given)[:60]}" if isinstance(given, str | Path) else f"a value of type {kind}"
