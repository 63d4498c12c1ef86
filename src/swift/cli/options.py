"""The help of the training verbs: every option with its type, default and first sentence."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from swift.core.schema import Value, documentation, kind, shown, summary
from swift.method import methods
from swift.recipe import Recipe
from swift.recipe.presets import meaning_of, presets_of
from swift.recipe.recipe import REGISTRIES, default_dataset
from swift.recipe.spelling import options

_HEAD = """usage: swift {verb} [recipe.yaml] [--key value ...] [--dry-run] [--resume RUN]

  --dry-run                say what would be done, and stop
  --resume RUN             go on with the unfinished run in that folder; on other processes with
                           --nproc_per_node, --strategy, --tensor_model_parallel_size
  A key may be written by its last word where that is unique (--learning_rate), or as other
  toolkits spell it (--lr, --num_train_epochs). Values are YAML: --tuner '{{name: lora, rank: 4}}'.
"""


def page(verb: str) -> str:
    """Return the help of `verb`, a method's name or `train`."""
    lines = [_HEAD.format(verb=verb)]
    for key, info in Recipe.model_fields.items():
        lines.append(f"{key}: {summary(documentation(Recipe)[key])}")
        lines += _section(key, info, verb)
        lines.append("")
    return "\n".join(lines)


def chapters(*keys: str) -> str:
    """Return the help of these sections of a recipe alone."""
    lines: list[str] = []
    for key in keys:
        lines.append(f"{key}: {summary(documentation(Recipe)[key])}")
        lines += _section(key, Recipe.model_fields[key], "")
    return "\n".join(lines)


def _section(key: str, info: FieldInfo, verb: str) -> Iterator[str]:
    if key in REGISTRIES:
        yield from _members(key, verb)
    elif key == "dataset":
        method = methods.get(_chosen("method", verb))
        yield _line("--dataset", "list", shown([default_dataset(method)]))
    elif key == "task":
        yield _line("--task", kind(info), methods.get(_chosen("method", verb)).task)
    elif not list(options(key)):
        yield _line(f"--{key}", kind(info), shown(info.default))
    else:
        for _, cls in options(key):
            yield from _options(key, cls)


def _members(key: str, verb: str) -> Iterator[str]:
    """Yield the choice of a member, then each preset, then each member with its options."""
    registry, _ = REGISTRIES[key]
    yield _line(f"--{key}", "|".join([*registry, *presets_of(key)]), _chosen(key, verb))
    for name in presets_of(key):
        yield f"  {name}: stands for {meaning_of(key, name)}"
    for name, cls in options(key):
        if key == "method" and verb in registry and name != verb:
            continue
        yield f"  {name}: {_about(cls)}"
        yield from _options(key, cls)


def _chosen(key: str, verb: str) -> str:
    """Return the member that is meant where the recipe names none."""
    registry, default = REGISTRIES[key]
    return verb if verb in registry and key == "method" else shown(default)


def _options(key: str, cls: type[Value]) -> Iterator[str]:
    for name, info in cls.model_fields.items():
        default = "" if info.default is PydanticUndefined else shown(info.default)
        text = summary(documentation(cls).get(name, ""))
        yield _line(f"--{key}.{name}", kind(info), default)
        yield from wrap(text, 96, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _about(cls: type[Value]) -> str:
    return summary((cls.__doc__ or "").split("\n\n")[0])


def _line(flag: str, takes: str, default: str) -> str:
    return f"  {flag}  {takes}" + (f" = {default}" if default else "")
