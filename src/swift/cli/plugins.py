"""`swift plugins`, and `--plugins` of any verb."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter

from swift.cli.flags import split
from swift.core.errors import Problem, UserError
from swift.core.plugins import GROUP, Plugin, load_all, load_flagged, tried

USAGE = f"""usage: swift plugins [FILE|FOLDER|MODULE ...] [--json]

List the plug-ins and what each of them adds: those named here, and those that are installed (with
an entry point of the group `{GROUP}`).

Any verb takes --plugins FILE|FOLDER|MODULE ...; a recipe names them under `plugins`."""


def main(verb: str, words: list[str]) -> int:
    """Print what is there; exit code 2 if any of it failed."""
    line = split(words, alone=frozenset({"json", "help"}), many=lambda name: False)
    wants_help, line = line.pick("help")
    as_json, line = line.pick("json")
    if wants_help:
        print(USAGE)
        return 0
    if line.flags:
        said = ", ".join(f"`--{name}`" for name, _ in line.flags)
        raise UserError(Problem(what=f"`swift plugins` does not take {said}", fix=USAGE))
    absent = load_all(line.files)
    found = tried()
    if as_json:
        print(json.dumps([asdict(plugin) for plugin in found], indent=1, ensure_ascii=False))
    elif not found:
        print("no plug-ins: none is named, and none is installed")
    else:
        print("\n".join(_described(plugin) for plugin in found))
    return 2 if absent or any(plugin.problem for plugin in found) else 0


def flagged(words: list[str]) -> list[str]:
    """Load what `--plugins` names and return the other words.

    A recipe that stands behind is not taken for a plug-in.

    Raises:
        UserError: One cannot be loaded, or none is named.
    """
    names: list[str] = []
    others: list[str] = []
    taking = False
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == "--plugins":
            taking = not equals
            names += [value] if equals else []
        elif taking and not word.startswith("-") and not word.endswith((".yaml", ".yml")):
            names.append(word)
        else:
            taking = False
            others.append(word)
    if not any(names):
        raise UserError(Problem(where="--plugins", what="it names none", fix="--plugins FILE"))
    load_flagged(names)
    return others


def _described(plugin: Plugin) -> str:
    head = plugin.said + (f"  ({plugin.place})" if plugin.place else "")
    if plugin.problem is not None:
        return f"{head}\n  failed: {plugin.problem}"
    kinds = groupby(sorted(plugin.adds), key=itemgetter(0))
    lines = [f"  {kind}: {', '.join(name for _, name in names)}" for kind, names in kinds]
    return "\n".join([head, *(lines or ["  adds nothing"])])
