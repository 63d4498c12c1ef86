"""`swift serve`: a model or a run behind OpenAI's API."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.cli.flags import Line, split
from swift.cli.opened import found
from swift.core.errors import Problem, RecipeError

if TYPE_CHECKING:
    from swift.recipe import Recipe

_HEAD = """usage: swift serve [RUN|MODEL|recipe.yaml] [--port P] [--adapter RUN] [--key value ...]

Serve a model, a run (its newest checkpoint) or a PEFT adapter with OpenAI's API, until Ctrl+C:
/v1/completions, /v1/chat/completions, /v1/models, /health.

  --model MODEL            the same as the word by itself: a name or a folder
  --adapter RUN            an adapter, where the model is its base
  --sync                   let a training exchange the weights (engine: server): see serve.sync
"""


def main(verb: str, words: list[str]) -> int:
    """Serve until a signal asks for the end.

    Raises:
        SwiftError: The recipe, the model or the port stands in the way, or it was Ctrl+C.
    """
    line = split(words, alone=frozenset({"help", "sync"}), many=lambda name: False)
    wants_help, line = line.pick("help")
    if wants_help:
        chapters = import_module("swift.cli.options").chapters
        print(_HEAD + "\n" + chapters("serve", "engine"))
        return 0
    adapter, line = line.pick("adapter", "adapters", "adapter_name_or_path")
    recipe = _recipe(line)
    server = import_module("swift.serve.server")
    listener = server.bind(recipe.serve)  # before the model is opened, which takes a while
    with listener:
        engine = recipe.engine.open(found(recipe.model, adapter))
        if engine.speaker.template is None:
            said = "has no chat template: only /v1/completions are answered; --template names one"
            print(f"{engine.served.id} {said}", file=sys.stderr)
        server.serve(engine, recipe.serve, say=_say, listener=listener)
    return 0


def _recipe(line: Line) -> Recipe:
    """Return what the line says; a word by itself is a recipe by its ending, else the model."""
    if len(line.files) > 1:
        what = "one model at a time, not " + ", ".join(f"`{word}`" for word in line.files)
        raise RecipeError(Problem(what=what, fix="values of a flag stand right after it"))
    word = line.files[0] if line.files else ""
    is_file = word.endswith((".yaml", ".yml"))
    models = [("model", word)] if word and not is_file else []
    read = import_module("swift.recipe").read
    recipe: Recipe = read(Path(word) if is_file else None, [*models, *line.flags])
    if "id" not in recipe.model.model_fields_set:
        print(f"no model given, so `{recipe.model.id}` is used", file=sys.stderr)
    return recipe


def _say(text: Any) -> None:
    print(text, flush=True)  # whoever waits for it may read a pipe
