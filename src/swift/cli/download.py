"""`swift download`: fetch models and data sets, or check those that are here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.cli.fetched import Downloads
from swift.cli.flags import split
from swift.core.env import cache_home, hub_root
from swift.core.errors import Problem, SwiftError, UserError
from swift.core.files import path_of
from swift.hub.fetch import fetch
from swift.hub.ref import Ref
from swift.hub.shelf import commit_of
from swift.model.find import EMBEDDED, find_model
from swift.model.names import find

_HELP = """usage: swift download NAME... [--dataset] [--hub HUB] [--revision R]
                      [--include PATTERN ...] [--to DIR]

Fetch models (or data sets) into the caches that the hubs' own clients use. What is here already is
read again and checked; what is missing or corrupt is fetched. A killed download goes on where it
ended: run the same command again.

  --dataset            the names are of data sets
  --hub HUB            auto (Hugging Face, its mirrors, then ModelScope), huggingface, modelscope
  --revision R         a branch, a tag or a commit
  --include PATTERN    only files that match: '*.json'. Without it a model's foreign and doubled
                       weights are left out
  --to DIR             a folder of plain files, instead of the cache

HF_ENDPOINT (addresses with commas, tried in order), MODELSCOPE_ENDPOINT, HF_TOKEN,
MODELSCOPE_API_TOKEN, HF_HOME, MODELSCOPE_CACHE, HTTPS_PROXY and HF_HUB_OFFLINE are obeyed."""

_OWN = ("hub", "revision", "include", "to")


def main(verb: str, words: list[str]) -> int:
    """Fetch each name and print its folder.

    Raises:
        SwiftError: A name cannot be fetched; all the names before it are.
    """
    line = split(
        words, alone=frozenset({"dataset", "help"}), many=lambda name: name.startswith("include")
    )
    wants_help, line = line.pick("help")
    if wants_help:
        print(_HELP)
        return 0
    dataset, line = line.pick("dataset")
    said: dict[str, Any] = {}
    for name in _OWN:
        said[name], line = line.pick(name)
    problems = [
        Problem(where=f"--{name}", what="it has no value", fix=f"--{name} VALUE")
        for name, value in said.items()
        if value is True
    ]
    problems += [
        Problem(what=f"`swift {verb}` has no flag `--{name}`", fix=f"swift {verb} --help")
        for name, _ in line.flags
    ]
    if not line.files:
        problems.append(Problem(what="no name is given", fix=f"swift {verb} qwen-7b"))
    if len(line.files) > 1 and said["to"]:
        what = "one folder for several names would mix their files"
        problems.append(Problem(where="--to", what=what, fix="one name, or leave --to out"))
    if problems:
        raise UserError(problems)
    return _fetch_all(line.files, "datasets" if dataset else "models", said)


def _fetch_all(names: tuple[str, ...], kind: str, said: Mapping[str, Any]) -> int:
    """Fetch all names, though some fail; say each folder on stdout, and all failures at the end."""
    failures: list[SwiftError] = []
    for name in names:
        try:
            print(_fetch_one(name, kind, said), flush=True)
        except SwiftError as error:
            failures.append(error)
    if not failures:
        return 0
    if len(failures) == 1:
        raise failures[0]
    for failure in failures[:-1]:
        print(failure, file=sys.stderr)
    raise failures[-1]


def _here(name: str) -> Path | None:
    """Return the folder of a model that no hub is asked for: a path, or the embedded one.

    Raises:
        PlanError: It is no name of the catalogue, and no ORG/NAME that a hub could have.
    """
    if (
        ((path := path_of(name)) is not None and path.is_dir())
        or name.lower() == EMBEDDED
        or (len(name) <= 96 and find(name) is None and "/" not in name)
    ):
        return find_model(name, cache_home(), local=True)
    return None


def _fetch_one(name: str, kind: str, said: Mapping[str, Any]) -> Path:
    if kind == "models" and not said["to"]:
        root = hub_root()
        found = find_model(name, cache_home(), local=True) if root else _here(name)
        if found is not None:
            print(f"{name} is here already", file=sys.stderr)
            return found
    if (root := hub_root()) is not None:
        what = f"SWIFT_HUB is a folder ({root}), from which nothing is fetched"
        raise UserError(Problem(where="SWIFT_HUB", what=what, fix="unset SWIFT_HUB"))
    revision = str(said["revision"] or "")
    patterns = said["include"]
    patterns = [patterns] if isinstance(patterns, str) else patterns and list(map(str, patterns))
    show = Downloads()
    found = fetch(
        _refs(name, kind, revision),
        hub=said["hub"] or "auto",
        patterns=patterns,
        to=Path(said["to"]).expanduser() if said["to"] else None,
        deep=True,
        show=show,
    )
    commit = commit_of(found)
    print(f"{name} is whole{f', at commit {commit}' if commit else ''}", file=sys.stderr)
    return found


def _refs(name: str, kind: str, revision: str) -> Ref | Mapping[str, Ref]:
    """Return what a name of the catalogue, or of a hub itself, is called on each hub."""
    if kind == "models":
        from swift.model.hubs import refs_of

        refs, _ = refs_of(name, revision)
    else:
        from swift.dataset.names import refs_of as refs_of_data

        refs = refs_of_data(name, revision)
    return refs or Ref(kind="models" if kind == "models" else "datasets", id=name)
