"""Code of a model folder's own that its user allows to run: which files, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import PlanError, Problem
from swift.core.schema import Value
from swift.hub.shelf import commit_of
from swift.model.code import places

if TYPE_CHECKING:
    from swift.model.facts import ModelFacts

CLASSES = ("AutoConfig", "AutoModelForCausalLM")
"""What such a folder must name in `auto_map`: a configuration, and a language model with a head."""


class Code(Value):
    """Files that run because the user said so."""

    files: Mapping[str, str]
    """Every Python file of the folder, which may import each other -> its sha256."""

    starts: tuple[str, ...]
    """Those that are imported first: what `auto_map` names."""

    commit: str = ""
    """The commit of the folder, where it is a hub's; "" where nothing pins it but the digests."""

    def said(self) -> str:
        """Return it as a decision of the plan."""
        files = ", ".join(f"{name} (sha256 {self.files[name][:12]})" for name in self.starts)
        more = len(self.files) - len(self.starts)
        also = f" and {more} files beside" if more else ""
        where = f"commit {self.commit[:12]}" if self.commit else "a folder without a commit"
        return f"runs code of the model's own, as trust_remote_code allows: {files}{also}, {where}"


def read_code(id: str, folder: Path, config: Mapping[str, Any]) -> Code:
    """Return the code that a folder's config.json names; nothing of it is imported.

    Raises:
        PlanError: It names no language model, or files that are not in the folder.
    """
    asked = config.get("auto_map")
    named = (
        {k: v for k, v in asked.items() if isinstance(v, str)} if isinstance(asked, dict) else {}
    )
    problems = [
        Problem(
            where="model",
            what=f"`{id}` names no {lack} of its own in config.json (`auto_map`)",
            fix="choose a model that is a causal language model",
        )
        for lack in CLASSES
        if lack not in named
    ]
    for place in places(asked):
        repository, apart, _ = place.rpartition("--")
        if apart:
            what = f"`{id}` takes its code from another repository, {repository}: nothing pins it"
            fix = (
                f"copy the files of {repository} beside config.json, and take `{repository}--` out"
            )
            problems.append(Problem(where="model", what=what, fix=fix))
    starts = sorted({_file(place) for key, place in named.items() if key in CLASSES})
    files = _digests(folder)
    problems += [
        Problem(
            where="model",
            what=f"`{id}` names code that its folder does not hold: {name}",
            fix="fetch it again",
        )
        for name in starts
        if name not in files and not problems
    ]
    if problems:
        raise PlanError(problems)
    return Code(files=files, starts=tuple(starts), commit=commit_of(folder))


def may_run(facts: ModelFacts) -> bool:
    """Return whether the folder's own code is to be run; it is what it was when it was allowed.

    Raises:
        PlanError: A file has changed since.
    """
    if facts.code is None:
        return False
    now = _digests(Path(facts.folder))
    changed = [n for n in {**facts.code.files, **now} if facts.code.files.get(n) != now.get(n)]
    if changed:
        what = f"the code that was allowed has changed since: {', '.join(sorted(changed)[:3])}"
        fix = "look at it, and start again"
        raise PlanError(Problem(where="model.trust_remote_code", what=what, fix=fix))
    return True


def failed(facts: ModelFacts, error: Exception) -> PlanError:
    """Return what to say when a folder's own code raises."""
    from importlib.metadata import version

    from swift.model.code import wanted

    wants = wanted(facts.id, facts.architecture)
    what = (
        f"the own code of {facts.id} fails with transformers {version('transformers')}: "
        f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else '?'}"
    )
    asks = f"; it asks for {', '.join(wants)}" if wants else ""
    fix = "a version of it for this transformers, or a model that transformers computes itself"
    return PlanError(Problem(where="model", what=what + asks, fix=fix))


def model_class(config: Any, folder: str) -> Any:
    """Return the class of a folder's own that computes a language model; its code is run."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    return get_class_from_dynamic_module(config.auto_map[CLASSES[1]], folder)


def _file(place: str) -> str:
    return place.rpartition("--")[2].rpartition(".")[0].replace(".", "/") + ".py"


def _digests(folder: Path) -> dict[str, str]:
    paths = [p for p in folder.rglob("*.py") if not p.relative_to(folder).parts[0].startswith(".")]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
    }
