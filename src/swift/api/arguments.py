"""What a Python caller gave, looked at before anything reads it: types alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swift.core.errors import Problem, UserError


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


def _shown(given: Any) -> str:
    kind = type(given).__name__
    return f"{ascii(given)[:60]}" if isinstance(given, str | Path) else f"a value of type {kind}"
