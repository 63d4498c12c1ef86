"""Every way a job can fail, as one tree; the exit code says who can act.

    SwiftError
    ├── UserError        2   the recipe, the flags or the data are wrong: the user mends them
    │   ├── RecipeError      a recipe or a flag
    │   ├── PlanError        the recipe is sound, but cannot be done here
    │   └── DataError        rows, files, templates
    ├── MachineError     3   disk, memory, devices, permissions: the machine's owner mends it
    │   └── WriteError       a file or a folder
    ├── TrainingError    4   the numbers went wrong (NaN, divergence): the recipe wants a change
    └── Interrupted    130   asked to stop; the work is saved

Any other exception is a mistake of ours and ends in exit code 1 with its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: what, where and how to mend it."""

    what: str
    """The fact, with the offending value: "`tuner` has no key `rnak`"."""

    fix: str = ""
    """The repair, ready to be typed: "write `rank`"."""

    where: str = ""
    """File, line and key: "recipe.yaml:7 tuner.rnak"."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        fix = f"\n     fix: {self.fix}" if self.fix else ""
        return f"{place}{self.what}{fix}"


class SwiftError(Exception):
    """A failure that names its problems. `str()` is what the user reads."""

    exit_code = 1
    title = "swift found"

    told = False
    """Whether another process says it: of many ranks only the first does."""

    def __init__(self, problems: Sequence[Problem] | Problem | str, *, fix: str = "") -> None:
        if isinstance(problems, str):
            problems = Problem(what=problems, fix=fix)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{self.title} {len(self.problems)} problems"]
        lines += [f"  {i}. {p}" for i, p in enumerate(self.problems, 1)]
        return "\n".join(lines)


class UserError(SwiftError):
    """The user can mend it."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe or a flag is wrong."""

    title = "the recipe has"


class PlanError(UserError):
    """The recipe is sound, but what it asks for cannot be done here."""

    title = "the plan has"


class DataError(UserError):
    """Rows, files or templates are wrong."""

    title = "the data has"


class MachineError(SwiftError):
    """Disk, memory, devices or permissions stand in the way."""

    exit_code = 3


class WriteError(MachineError):
    """A file or a folder cannot be written."""


class TrainingError(SwiftError):
    """The numbers went wrong."""

    exit_code = 4


class Interrupted(SwiftError):  # noqa: N818 - it is no error: the work is saved
    """A signal asked for the end; what was done is saved."""

    exit_code = 130


def nearest(word: str, known: Sequence[str]) -> str:
    """Return "write `x`" for the known name closest to `word`, else the list of known names."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"write `{close[0]}`"
    return "known: " + ", ".join(f"`{k}`" for k in sorted(known))
