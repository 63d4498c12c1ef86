"""Flags that say how answers are made: the fields of Sampling, checked, and their help."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, get_origin

from swift.core import yaml
from swift.core.check import Checker
from swift.core.errors import Problem, nearest
from swift.core.schema import documentation, kind, shown
from swift.engine import Sampling

if TYPE_CHECKING:
    from swift.core.yaml import KeyPath

_GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1024}
"""What these verbs take where nobody says, other than Sampling itself."""

_ELSEWHERE = {"max_new_tokens": "max_tokens", "max_length": "max_tokens"}
"""What other toolkits call a field."""

_HIDDEN = frozenset({"logprobs"})
"""Fields that no verb shows."""

ALONE = frozenset({"ignore_eos"})
"""Flags that take no value."""

FIELDS = tuple(name for name in Sampling.model_fields if name not in _HIDDEN)


def read(
    flags: Sequence[tuple[str, Any]], verb: str, own: Sequence[str], problems: list[Problem]
) -> Sampling:
    """Return the sampling that the flags say: greedy, unless they say otherwise.

    Args:
        flags: All flags but those of the verb itself and of the engine.
        verb: The command's verb, for its problems.
        own: The verb's own options, for the repair of an unknown one.
        problems: Gets one Problem for each mistake.
    """
    said: dict[str, Any] = {}
    for name, value in flags:
        field = name.replace("-", "_")
        field = _ELSEWHERE.get(field, field)
        if field in FIELDS:
            _lay(said, field, value, problems)
        else:
            what = f"`swift {verb}` has no option `--{name}`"
            known = [*own, *FIELDS]
            fix = nearest(field, known).replace("write `", "write `--")
            fix = fix if fix.startswith("write") else f"`swift {verb} --help` lists them"
            problems.append(Problem(what=what, fix=fix))
    checker = Checker(_where)
    found = checker.value(Sampling, {**_GREEDY, **said}, ())
    problems += checker.problems
    return found or Sampling(**_GREEDY)


def options() -> str:
    """Return the help of these flags."""
    lines: list[str] = []
    for name in FIELDS:
        info = Sampling.model_fields[name]
        default = shown(_GREEDY.get(name, info.get_default(call_default_factory=True)))
        lines.append(f"  --{name}  {kind(info)}" + (f" = {default}" if default else ""))
        text = " ".join(documentation(Sampling)[name].split())
        lines += wrap(text, 96, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _where(path: KeyPath) -> str:
    return f"--{path[0]}" if path else ""


def _lay(said: dict[str, Any], field: str, value: Any, problems: list[Problem]) -> None:
    """Lay one flag over those before it; a flag of a list adds to it."""
    try:
        value = _value(field, value)
    except ValueError as error:
        problems.append(Problem(where=f"--{field}", what=str(error)))
        return
    if get_origin(Sampling.model_fields[field].annotation) is tuple:
        value = (*said.get(field, ()), *(value if isinstance(value, list | tuple) else [value]))
    said[field] = value


def _value(field: str, value: Any) -> Any:
    """Return what a flag's text is; a text that ends an answer is taken as it stands."""
    if not isinstance(value, str) or (field == "stop" and not value.startswith("[")):
        return value
    found = yaml.flag(value)
    if field == "logit_bias" and isinstance(found, dict):  # YAML's keys are text
        return {int(k) if str(k).isdecimal() else k: v for k, v in found.items()}
    return found
