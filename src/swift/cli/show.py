"""`swift show`: what is known of one model or data set, without loading a weight or a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from swift.chat.wires import wire_for
from swift.cli import catalog
from swift.cli.flags import split
from swift.core.env import cache_home
from swift.core.errors import Problem, SwiftError, UserError
from swift.core.files import path_of
from swift.model.abilities import served
from swift.model.code import is_native
from swift.model.facts import read_config
from swift.model.find import find_model
from swift.model.kind import Kind, kind_of
from swift.model.memory import assumed, held
from swift.model.names import Row, find
from swift.model.parts import Parts, read_parts
from swift.model.structures import brought, structures
from swift.model.voice import by_its_type

USAGE = """usage: swift show NAME|FOLDER [--json]
       swift show dataset NAME|FILE|FOLDER [--json]"""


def main(verb: str, words: list[str]) -> int:
    """Print what is known of a model or a data set; nothing is fetched."""
    line = split(
        words, alone=frozenset({"json", "help", "trust_remote_code"}), many=lambda name: False
    )
    as_json, line = line.pick("json")
    wants_help, line = line.pick("help")
    _, line = line.pick("trust_remote_code")  # as other verbs take it; nothing is run here
    if wants_help:
        print(f"{USAGE}\n\nSay what is known of a model or a data set; nothing is fetched.")
        return 0
    of_data = len(line.files) == 2 and line.files[0] in ("dataset", "datasets")
    if line.flags or not (of_data or len(line.files) == 1):
        raise UserError(Problem(what="`swift show` takes one name or folder", fix=USAGE))
    found = catalog.known_of(line.files[1]) if of_data else known_of(line.files[0])
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    lines = [(key, _text(key, value)) for key, value in found.items() if value not in ("", None)]
    print("\n".join(f"{key:<11} {part}" for key, text in lines for part in text.splitlines()))
    return 0


def known_of(name: str) -> dict[str, Any]:
    """Return what the catalogue, and the folder if it is here, say of the model called `name`.

    Raises:
        PlanError: There is no such model.
    """
    if (path := path_of(name)) is not None and path.is_file():
        what = f"`{name}` is a file, and a model is a folder"
        raise UserError(Problem(where="model", what=what, fix=f"swift show {Path(name).parent}"))
    row, folder = find(name), None
    try:
        folder = find_model(name, cache_home(), local=True)
    except SwiftError:
        if row is None or Path(name).is_dir():
            raise
    found = _listed(row) if row else {"model": name}
    if folder is None:
        assert row is not None
        return {**found, **_guessed(row)}
    return {**found, "template": _template(folder, row), **_read(folder)}


def _listed(row: Row) -> dict[str, Any]:
    """Return what the catalogue says."""
    known = structures().get(row.structure)
    return {
        "model": row.huggingface or row.modelscope,
        "modelscope": row.modelscope,
        "names": list(row.names) or "",
        "family": f"{row.family} ({row.structure})",
        "kind": row.kind,
        "modality": list(row.modality),
        "packed": row.packed,
        "runs": _runs(known.status, known.native, known.wants, known.note) if known else "",
    }


def _guessed(row: Row) -> dict[str, Any]:
    """Return what the size alone tells of a model that is not here."""
    parameters = round(row.size * 1e9)
    wire = wire_for(row.ids, row.structure)
    return {
        "template": f"the wire `{wire}`, unless the tokenizer brings one" if wire else "",
        "parameters": parameters or "",
        "memory": dict(assumed(parameters)) if parameters and not row.packed else "",
        "folder": f"not on this machine: swift download {row.name}",
    }


def _read(folder: Path) -> dict[str, Any]:
    """Return what the folder's files tell."""
    config = read_config(folder)
    kind, parts = kind_of(config), read_parts(folder)
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config
    return {
        "family": f"{kind.family} ({kind.structure})",
        "class": kind.architecture,
        "modality": list(kind.modality),
        "runs": _own(kind),
        "served": _served(config, kind),
        "parameters": parts.parameters,
        "type": parts.dtype,
        "context": text.get("max_position_embeddings") or "",
        "roles": list(kind.roles),
        "parts": dict(parts.sizes),
        "memory": dict(_held(parts)) if parts.parameters else "",
        "folder": str(folder),
    }


def _runs(status: str, native: tuple[str, ...], wants: tuple[str, ...], note: str) -> str:
    first = native[0] if native else ""
    said = {
        "native": f"in transformers: {first}",
        "mapped": f"as {first}, rewritten without its code",
        "converted": f"from a folder converted to {first}; its own code is not run",
        "near": f"by its own code, which is not run; {first} is near to it",
    }.get(status, "by its own code, which is not run")
    asked = (
        f" (asks for {', '.join(wants)})" if wants and status not in ("native", "mapped") else ""
    )
    return said + asked + (f"; {note}" if note and status not in ("native", "mapped") else "")


def _own(kind: Kind) -> str:
    if kind.structure in brought():
        return f"by a plug-in: {kind.architecture or kind.structure}"
    if is_native(kind.structure):
        return f"in transformers: {kind.architecture or kind.structure}"
    if kind.code:
        return "by its own code, which runs only with --trust_remote_code"
    return f"not here: transformers does not know `{kind.structure}`"


def _served(config: Mapping[str, Any], kind: Kind) -> str:
    """Return whether the torch engine answers with it; "" where no source tells."""
    why = served(config) if is_native(kind.structure) else None
    return "" if why is None else f"no: {why}" if why else "yes, as transformers' class says"


def _held(parts: Parts) -> Mapping[str, int]:
    return held(parts.parameters, matrices=parts.matrices, adapter=parts.adapter)


def _template(folder: Path, row: Row | None) -> str:
    """Return where the chat template comes from, as far as names tell."""
    if _has_template(folder):
        return "yes"
    wire = wire_for(row.ids, row.structure) if row else ""
    said = f"the wire `{wire}`" if wire else ""
    with suppress(SwiftError):  # a broken tokenizer is told by what needs it
        said = said or by_its_type(folder)
    return f"the tokenizer brings none; {said}" if said else "no: the tokenizer brings none"


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and bool(said.get("chat_template"))


def _text(key: str, value: Any) -> str:
    if key == "parameters":
        return _billions(value)
    if key == "memory":
        sizes = ", ".join(f"{way} {_gib(size)}" for way, size in value.items())
        return f"{sizes}; activations come on top"
    if key == "parts":
        return ", ".join(f"{part} {_billions(size)}" for part, size in value.items())
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _billions(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.3g} MiB"
