r"""Wires: the texts around turns, as rows, for models that bring no Jinja template.

A row of wires.csv becomes a Jinja template, so that everything after it (rendering, spans,
fingerprints, `chat_template.jinja` in a checkpoint) is the same as for any other model.

Cells write a line break as `\n`. What a cell cannot know stands in ‹›: ‹bos› and ‹eos› are the
model's own, ‹id:195› is a token by its number, ‹config:user_token_id› one whose number
generation_config.json tells. `{round}` counts the user's turns from 1, `{round0}` from 0.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from swift.chat._special import read_json
from swift.core.errors import DataError, Problem, nearest
from swift.core.table import Table

if TYPE_CHECKING:
    from swift.chat.tokenize import Tokenizer

_TABLE = Path(__file__).with_suffix(".csv")
_STOP, _STOP_END = "{#- an answer also ends at: ", " -#}"
_MARK = re.compile(r"(‹[^›]*›|\{round0?\})")


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A row: one way to write a conversation."""

    name: str
    models: str = ""
    """What the catalogue calls models that speak so, with | between: their row in families.csv, or
    the name of a model, lower-cased, with * for the rest of it."""

    types: str = ""
    """`model_type`s of config.json that speak so, lower-cased, with | between."""

    needs: str = ""
    """Tokens that the vocabulary must hold: they tell models of one type apart."""

    begin: str = ""
    """What every text begins with."""

    system: str = ""
    """The system message, at {system}."""

    place: str = "before"
    """Where it stands: `before` the turns, in the `first` or `last` user turn, or `none`."""

    user: str
    """A user's turn, at {user}."""

    assistant: str
    """The header of an answer: the generation prompt."""

    lead: str = ""
    """What an answer begins with before its words: the model says it, and it is trained."""

    end: str = ""
    """What the last answer ends with."""

    inner: str = ""
    """What an answer before another turn ends with."""

    turns: str = "many"
    """`many`, or `one`: a question and its answer."""

    stop: str = ""
    """Other texts that end an answer at inference, with | between. The Jinja carries them along
    in its first line, so that they are wherever it is."""

    default: str = ""
    """The system message of a conversation that has none."""

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends an answer besides the end of the text."""
        return tuple(_words(self.stop))


def _read() -> Iterator[Wire]:
    names = [field.name for field in fields(Wire)]
    with _TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Wire(**{n: row[n].replace("\\n", "\n") for n in names})


wires: Table[Wire] = Table("wire", _read, lambda wire: wire.name)
"""All rows. A plug-in adds one with `wires.add(Wire(...))`."""


def wire(name: str) -> Wire:
    """Return the row of a name.

    Raises:
        DataError: There is none; the nearest one is named.
    """
    found = wires.get(name)
    if found is None:
        what = f"there is no file and no wire `{name}`"
        fix = nearest(name, [*wires.names(), "auto"])
        raise DataError(Problem(where="model.template", what=what, fix=fix))
    return found


def wire_for(ids: Iterable[str], structure: str) -> str:
    """Return the name of the wire of a model of the catalogue; "" where no row names it.

    Args:
        ids: Its ids, with or without organisation.
        structure: Its row in families.csv. A row that names the model itself goes before it.
    """
    bare = [id.rpartition("/")[2].casefold() for id in ids]
    named = [(w.name, w.models.split("|")) for w in wires.by_weight() if w.models]
    for name, models in named:
        if any(fnmatchcase(id, model) for id in bare for model in models):
            return name
    return next((name for name, models in named if structure in models), "")


def type_of(folder: Path) -> str:
    """Return the `model_type` that a folder speaks as; "" where nothing tells.

    A folder that was rewritten from another layout speaks as that: rewritten.json says which.
    """
    made_of = read_json(folder / "rewritten.json").get("model_type")
    found = made_of or read_json(folder / "config.json").get("model_type")
    return found if isinstance(found, str) else ""


def wire_of(folder: Path) -> Wire | None:
    """Return the row that a model folder's config.json names by its `model_type`.

    Of several the one that needs most of what the vocabulary holds.
    """
    type_ = type_of(folder).lower()
    named = [w for w in wires if type_ and type_ in w.types.split("|")]
    if not named or not (folder / "tokenizer.json").is_file():
        return None
    from swift.chat.tokenize import Tokenizer

    held = Tokenizer.load(folder).backend.token_to_id
    fit = [w for w in named if all(held(t) is not None for t in _words(w.needs))]
    return max(fit, key=lambda w: len(_words(w.needs)), default=None)


def source(wire: Wire, folder: Path) -> str:
    """Return a wire as Jinja, for the tokens of one model.

    Raises:
        DataError: The wire needs a token that this model does not have.
    """
    from swift.chat.tokenize import Tokenizer

    return jinja(wire, _Tokens(folder, Tokenizer.load(folder)).text)


def jinja(wire: Wire, text_of: Callable[[str], str]) -> str:
    """Return a wire as Jinja; `text_of` gives the text of what stands in ‹›."""
    said = _Said(text_of)
    before, after = _around(wire.user, "user")
    follows = wire.inner + before  # between an answer and the next question
    taught = wire.end if follows.startswith(wire.end) else ""  # never half a token
    rest, head = wire.inner[len(taught) :], before[max(0, len(taught) - len(wire.inner)) :]
    first = f"{{{{- {said(before)} -}}}}"
    if head != before:  # an answer has said the begin of the header: glm's <|user|> ends it
        first = f"{{%- if ns.said -%}}{{{{- {said(head)} -}}}}{{%- else -%}}{first}{{%- endif -%}}"
    lines = [
        *([stop_line(wire.stops)] if wire.stops else []),
        _opening(wire, said),
        "{%- for message in turns -%}",
        _refusals(wire),
        "{%- if message['role'] == 'user' -%}",
        *([first] if before else []),
        _system_within(wire, said),
        "{{- message['content'] -}}",
        f"{{{{- {said(after)} -}}}}{{%- set ns.said = false -%}}",
        "{%- set ns.round = ns.round + 1 -%}",
        "{%- else -%}",
        f"{{{{- {said(wire.assistant)} -}}}}",
        f"{{% generation %}}{{{{- {said(wire.lead)} + message['content'] -}}}}",
        f"{{%- if loop.last -%}}{{{{- {said(wire.end)} -}}}}",
        f"{{%- else -%}}{{{{- {said(taught)} -}}}}{{%- endif -%}}{{% endgeneration %}}",
        f"{{%- if not loop.last -%}}{{{{- {said(rest)} -}}}}{{%- endif -%}}",
        "{%- set ns.said = true -%}",
        "{%- endif -%}",
        "{%- endfor -%}",
        f"{{%- if add_generation_prompt -%}}{{{{- {said(wire.assistant)} -}}}}{{%- endif -%}}",
    ]
    return "\n".join(lines) + "\n"


def stop_line(stops: Sequence[str]) -> str:
    """Return a template's first line, which says what ends an answer besides its own end."""
    return f"{_STOP}{json.dumps(stops, ensure_ascii=False)}{_STOP_END}"


def stops_in(source: str) -> tuple[str, ...]:
    """Return what a template's first line says of further ends; () where it says nothing."""
    line = source.partition("\n")[0]
    if not line.startswith(_STOP) or not line.endswith(_STOP_END):
        return ()
    with suppress(ValueError):
        said = json.loads(line.removeprefix(_STOP).removesuffix(_STOP_END))
        return tuple(text for text in said if isinstance(text, str) and text)
    return ()


# --- how -------------------------------------------------------------------------------------


def _opening(wire: Wire, said: _Said) -> str:
    lines = [
        "{%- set ns = namespace(round=1, said=false) -%}",
        "{%- set told = messages and messages[0]['role'] == 'system' -%}",
        "{%- set turns = messages[1:] if told else messages -%}",
        f"{{%- set system = messages[0]['content'] if told else {said(wire.default)} -%}}",
        f"{{{{- {said(wire.begin)} -}}}}",
    ]
    if wire.place == "none":
        lines.append(f"{{%- if told -%}}{_refuse(wire, 'has no place for a system message')}")
        lines.append("{%- endif -%}")
    if wire.place == "before":
        before, after = _around(wire.system, "system")
        lines.append(f"{{%- if system -%}}{{{{- {said(before)} + system + {said(after)} -}}}}")
        lines.append("{%- endif -%}")
    return "\n".join(lines)


def _system_within(wire: Wire, said: _Said) -> str:
    """Return the system message's place within a user's turn."""
    if wire.place not in ("first", "last"):
        return ""
    before, after = _around(wire.system, "system")
    when = "ns.round == 1"
    if wire.place == "last":
        when = "not (turns[loop.index0:] | selectattr('role', 'equalto', 'user') | list)[1:]"
    text = f"{{{{- {said(before)} + system + {said(after)} -}}}}"
    return f"{{%- if system and {when} -%}}{text}{{%- endif -%}}"


def _refusals(wire: Wire) -> str:
    text = "{%- if message['role'] not in ('user', 'assistant') -%}"
    text += _refuse(wire, "writes system, user and assistant only") + "{%- endif -%}"
    if wire.turns == "one":
        text += "{%- if loop.index > 2 -%}"
        text += _refuse(wire, "holds one question and its answer") + "{%- endif -%}"
    return text


def _refuse(wire: Wire, why: str) -> str:
    return f"{{{{- raise_exception('the wire `{wire.name}` {why}') -}}}}"


@dataclass(frozen=True)
class _Said:
    """A cell as a Jinja expression."""

    text_of: Callable[[str], str]

    def __call__(self, cell: str) -> str:
        counts = {"{round}": "ns.round | string", "{round0}": "(ns.round - 1) | string"}
        parts = []
        for part in filter(None, _MARK.split(cell)):
            if part in counts:
                parts.append(f"({counts[part]})")
            else:
                parts.append(_quoted(self.text_of(part[1:-1]) if part[0] == "‹" else part))
        return " + ".join(parts) or "''"


@dataclass(frozen=True)
class _Tokens:
    """What stands in ‹›, of one model."""

    folder: Path
    tokenizer: Tokenizer

    def text(self, mark: str) -> str:
        kind, _, name = mark.partition(":")
        if kind == "bos" and self.tokenizer.bos_id is None:
            return ""
        number = {"bos": self.tokenizer.bos_id, "eos": self.tokenizer.eos_id}.get(kind)
        if kind == "id":
            number = int(name)
        elif kind == "config":
            number = read_json(self.folder / "generation_config.json").get(name)
            if not isinstance(number, int):
                raise self._lacking(f"generation_config.json has no `{name}`, which it needs")
        assert number is not None
        text: str | None = self.tokenizer.backend.id_to_token(number)
        if text is None or self.tokenizer.encode(text) != [number]:
            raise self._lacking(f"token {number}, which it needs, cannot be written as text")
        return text

    def _lacking(self, what: str) -> DataError:
        fix = "model.template: another wire, or the path of a Jinja file"
        return DataError(Problem(where="model.template", what=f"{self.folder}: {what}", fix=fix))


def _around(cell: str, name: str) -> tuple[str, str]:
    before, _, after = cell.partition(f"{{{name}}}")
    return before, after


def _words(cell: str) -> list[str]:
    """Return the tokens of `needs`; these hold | themselves: `<|user|>|sop`."""
    return re.findall(r"<\|.*?\|>|[^|]+", cell)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
