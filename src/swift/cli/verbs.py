"""Verbs that plug-ins bring: `swift NAME …`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from swift.core.errors import Problem, UserError
from swift.core.plugins import load_all, tried
from swift.core.table import Table

Act: TypeAlias = Callable[[str, list[str]], int]
"""Gets the verb and the words after it, and returns the exit code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """A command."""

    name: str
    about: str
    """What it does, in a line."""

    act: Act


INSTEAD = {"rollout": "swift serve MODEL --sync"}
"""Verbs of other toolkits -> what does the same here."""

verbs: Table[Verb] = Table("verb", tuple, lambda verb: verb.name)
"""All that plug-ins brought."""


def verb(name: str, about: str) -> Callable[[Act], Act]:
    """Register the decorated function as `swift NAME`."""

    def register(act: Act) -> Act:
        from swift.cli.main import VERBS

        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ValueError(f"{name!r} is no word for a verb: small letters, digits, - and _")
        if name in VERBS:
            raise ValueError(f"`{name}` is a verb of swift's own")
        verbs.add(Verb(name=name, about=about, act=act))
        return act

    return register


def foreign(verb: str, words: list[str]) -> int:
    """Carry out a verb that a plug-in brought, or that is the name of its method.

    Raises:
        UserError: Nobody brought it.
    """
    for word in words:
        if word.endswith((".yaml", ".yml")):
            _load_named(word)
    found = verbs.get(verb)
    if found is not None:
        code = found.act(verb, words)
        if not isinstance(code, int):
            what = f"the verb `{verb}` of a plug-in returned {code!r}, not an exit code"
            raise UserError(Problem(what=what, fix="return 0 from it"))
        return code
    theirs = list(verbs.names())
    if tried():
        from swift.method import methods

        if verb in methods:
            from swift.cli.train import main as train

            return train(verb, words)
        theirs += methods
    raise UserError(_unknown(verb, theirs))


def _load_named(recipe: str) -> None:
    """Load the plug-ins of a recipe; what is wrong with them is said when it is read."""
    from swift.core import yaml

    named = yaml.read(Path(recipe)).tree.get("plugins", ())
    names = [named] if isinstance(named, str) else named
    if isinstance(names, list | tuple):
        load_all(name for name in names if isinstance(name, str))


def _unknown(verb: str, theirs: list[str]) -> Problem:
    from difflib import get_close_matches

    from swift.cli.main import LATER, VERBS

    if verb in LATER:
        return Problem(what=f"`swift {verb}` comes with a later version")
    if verb in INSTEAD:
        return Problem(what=f"swift has no verb `{verb}`", fix=f"run `{INSTEAD[verb]}`")
    known = [*dict.fromkeys([*VERBS, *theirs])]
    close = get_close_matches(verb, known, n=1)
    others = ", ".join(known) + ("" if theirs else "; or name the plug-in: --plugins FILE")
    fix = f"run `swift {close[0]}`" if close else f"one of {others}"
    return Problem(what=f"swift has no verb `{verb}`", fix=fix)
