"""What attention transformers' class of a model can do, read from its source: nothing is imported.

transformers says it in class attributes, and importing one class takes seconds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swift.core.errors import Problem
from swift.model.structures import brought

STATE = "it carries a state, which the engine cannot page as it does attention"
OWN = "its attention is its own"
FIX = "transformers' generate answers with it, with an adapter after `swift merge`"


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """Class attributes of transformers' PreTrainedModel."""

    sdpa: bool = False
    """torch's own kernels."""

    flash: bool = False
    """flash_attention_2."""

    paged: bool = False
    """Any registered function: the torch engine's, which keeps keys and values in blocks."""

    state: bool = False
    """Whether layers carry a state besides keys and values, or instead of them."""

    def possible(self, attention: str) -> str:
        """Return `attention`, or the next best that the class has."""
        if attention == "flash_attention_2" and not self.flash:
            attention = "sdpa"
        return "eager" if attention == "sdpa" and not self.sdpa else attention

    @property
    def unpaged(self) -> str:
        """Why the torch engine cannot answer with it; "" where it may."""
        return "" if self.paged else STATE if self.state else OWN


NAMES = {
    "sdpa": "_supports_sdpa",
    "flash": "_supports_flash_attn",
    "paged": "_supports_attention_backend",
    "state": "_is_stateful",
}
"""What transformers calls them."""


def of_class(known: type) -> Abilities:
    """Return what a class that is at hand can do."""
    return Abilities(**{k: bool(getattr(known, name)) for k, name in NAMES.items()})


def abilities(model_type: str, architecture: str) -> Abilities | None:
    """Return what transformers' class can do; None where its source does not tell.

    Args:
        model_type: As config.json has it.
        architecture: The class.
    """
    if model_type in brought():
        return None
    for path in _sources(model_type):
        classes = _classes(path)
        if architecture in classes:
            said = _said(architecture, classes)
            return Abilities(**{k: said.get(name, False) for k, name in NAMES.items()})
    return None


def served(config: Mapping[str, Any]) -> str | None:
    """Return why the torch engine cannot answer with the model of a config.json; "" if it may.

    None where the source does not tell.
    """
    text = config.get("text_config")
    if why := of_layers(text if isinstance(text, dict) else config):
        return why
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else ""
    can = abilities(str(config.get("model_type")), str(first))
    return can.unpaged if can else None


def of_layers(text: Mapping[str, Any]) -> str:
    """Return why layers of a language model's configuration cannot run on blocks; "" if they can.

    Some of them keep something else than keys and values of their own.
    """
    said = text.get("layer_types")
    others = {str(t) for t in said} if isinstance(said, list | tuple) else set()
    others -= {"full_attention", "sliding_attention"}
    if others:
        return f"some of its layers are {', '.join(sorted(others))}"
    if text.get("num_kv_shared_layers"):
        return "some of its layers share keys and values"
    return ""


def cannot_serve(architecture: str, why: str) -> Problem:
    """Return the refusal of a model that the torch engine cannot answer with."""
    what = f"the torch engine cannot run {architecture}: {why}"
    return Problem(where="model", what=what, fix=FIX)


def _sources(model_type: str) -> Iterator[Path]:
    """Yield the files that may hold a type's classes; gemma3_text is in gemma3's."""
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations or not model_type:
        return
    models = Path(spec.submodule_search_locations[0]) / "models"
    words = model_type.replace("-", "_").split("_")
    for count in range(len(words), 0, -1):
        name = "_".join(words[:count])
        yield from sorted((models / name).glob("modeling_*.py"))


@cache
def _classes(path: Path) -> Mapping[str, tuple[tuple[str, ...], Mapping[str, bool]]]:
    """Return a file's classes: name -> (bases, attributes that are true or false)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: (
            tuple(base.id for base in node.bases if isinstance(base, ast.Name)),
            dict(_flags(node)),
        )
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _flags(node: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    for line in node.body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=bool() as value)):
                yield name, value


def _said(
    name: str, classes: Mapping[str, tuple[tuple[str, ...], Mapping[str, bool]]]
) -> dict[str, bool]:
    """Return a class's attributes, its bases' in the same file included."""
    bases, own = classes.get(name, ((), {}))
    found: dict[str, bool] = {}
    for base in reversed(bases):
        found |= _said(base, classes)
    return found | dict(own)
