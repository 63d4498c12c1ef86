"""The model that a command line names, and the words that chat, infer and eval have in common."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.cli import sampling
from swift.cli.flags import SWITCH, split
from swift.core.errors import Problem, UserError

if TYPE_CHECKING:
    from swift.engine import Engine, EngineOptions, Sampling, Served
    from swift.recipe.sections import Model
    from swift.run.infer import Inference

_MODEL = """The model, by itself or as --model, is a run (its newest checkpoint), a checkpoint, a
PEFT adapter, or a model's name or folder.

  --adapter RUN  an adapter on top of that model
  --template T   its chat template: a wire's name, or the path of a Jinja file
  --enable_thinking true|false  told to the chat template, for models that may think or not
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line asks for."""

    model: str
    served: Served
    engine: EngineOptions
    sampling: Sampling
    own: dict[str, Any]
    """The verb's own options."""

    options: dict[str, Any]
    """What the chat template may read besides."""

    def open(self) -> Engine:
        """Return the model, ready to answer."""
        return self.engine.open(self.served)

    @property
    def ahead(self) -> int:
        """Rows that keep the engine busy, however long each of them takes."""
        return 4 * int(self.engine.model_dump().get("max_batch", 64))

    def inference(self, rows: str, output: Path, *, split: str) -> Inference:
        """Return the answering of a data set, as the words want it.

        Args:
            rows: A file, or a data set by its name.
            output: Where the lines go.
            split: Part of a generated data set; "" for its own first one.
        """
        work: Inference = import_module("swift.run.infer").Inference(
            served=self.served,
            rows=rows,
            split=split,
            output=output,
            sampling=self.sampling,
            ahead=self.ahead,
            options=self.options,
            overwrite=bool(self.own["overwrite"]),
        )
        return work

    @property
    def context(self) -> int:
        """Longest prompt with its answer, in tokens; 0: nobody knows."""
        said = self.engine.model_dump().get("context") or self.served.context
        return min(int(said), self.served.context or int(said))


def read(verb: str, words: Sequence[str], own: Sequence[str], alone: Sequence[str]) -> Asked | None:
    """Return what a command line asks for; None where it asks for help.

    Args:
        verb: The command's verb.
        words: What stands after it.
        own: The verb's own options.
        alone: Those of them that take no value.

    Raises:
        UserError: Of options: all that are wrong. Of the model: there is none of that name.
    """
    quiet = frozenset({"help", *alone}) | sampling.ALONE
    line = split(words, alone=quiet, many=lambda name: False)
    wants_help, line = line.pick("help")
    if wants_help:
        return None
    problems: list[Problem] = []
    named, line = line.pick("model")
    adapter, line = line.pick("adapter", "adapters", "adapter_name_or_path")
    thinking, line = line.pick("enable_thinking")
    options = _options(thinking, problems)
    mine: dict[str, Any] = {}
    for name in own:
        value, line = line.pick(name)
        mine[name] = value
        if value is True and name not in alone:
            problems.append(
                Problem(where=f"--{name}", what="it has no value", fix=f"--{name} VALUE")
            )
    model = _model(line.files, named, problems)
    heads = ("engine", "model", "template", SWITCH)
    engine = [f for f in line.flags if f[0].replace("-", "_").partition(".")[0] in heads]
    rest = [f for f in line.flags if f not in engine]
    known = [*own, "model", "adapter", "template", "enable_thinking"]
    drawn = sampling.read(rest, verb, known, problems)
    if problems:
        raise UserError(problems)
    recipe = import_module("swift.recipe").read(None, [("model", model or "nano"), *engine])
    if not model:
        print(f"no model given, so `{recipe.model.id}` is used", file=sys.stderr)
    served = found(recipe.model, adapter)
    return Asked(
        model=recipe.model.id,
        served=served,
        engine=recipe.engine,
        sampling=drawn,
        own=mine,
        options=options,
    )


def found(model: Model, adapter: str | None) -> Served:
    """Return what a recipe's `model` names, with an adapter on top, for an engine to open.

    Raises:
        SwiftError: There is no such model or adapter.
    """
    served: Served = import_module("swift.checkpoint").served(
        model.id,
        adapter,
        hub=model.hub,
        revision=model.revision,
        template=model.template,
        trust=model.trust_remote_code,
    )
    return served.model_copy(update={"device_map": model.device_map})


def page(head: str) -> str:
    """Return the help of a verb whose own options are in `head`."""
    engine = import_module("swift.cli.options").chapters("engine")
    how = "answers: greedy (temperature 0), unless an option says otherwise"
    return f"{head}\n{_MODEL}\n{how}\n{sampling.options()}\n{engine}"


def _options(thinking: Any, problems: list[Problem]) -> dict[str, Any]:
    """Return what the chat template is told besides."""
    if thinking is None:
        return {}
    said = {"true": True, "false": False, True: True}.get(thinking)
    if said is None:
        what = f"`{thinking}` is neither true nor false"
        problems.append(Problem(where="--enable_thinking", what=what, fix="true or false"))
    return {"enable_thinking": bool(said)}


def _model(files: tuple[str, ...], named: Any, problems: list[Problem]) -> str:
    said = [*files, *([named] if isinstance(named, str) else [])]
    if len(said) > 1:
        what = "one model at a time, not " + ", ".join(f"`{word}`" for word in said)
        fix = "values of a flag stand right after it; several words want quotes"
        problems.append(Problem(what=what, fix=fix))
    return said[0] if said else ""
