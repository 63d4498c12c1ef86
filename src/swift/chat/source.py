"""Where the chat template of a model comes from: its own files, a file that is named, or a wire."""

from __future__ import annotations

from pathlib import Path

from swift.chat._special import read_json, special_tokens
from swift.chat.template import Template
from swift.chat.wires import source as wire_source
from swift.chat.wires import wire, wire_of
from swift.core.errors import DataError, Problem


def load(folder: Path, file: Path | None = None) -> Template:
    """Return the chat template of a model folder, or of `file` with the folder's tokens.

    Looked for in chat_template.jinja, then tokenizer_config.json (of several the one named
    "default"), then chat_template.json, then among the wires by the model's type.

    Raises:
        DataError: There is none.
    """
    tokens = special_tokens(folder)
    source = _read(file) if file else own_source(folder)
    if source:
        return Template(source, tokens)
    if found := wire_of(folder):
        return Template(wire_source(found, folder), tokens)
    raise DataError(
        Problem(
            where="model.template",
            what=f"{folder} has no chat template",
            fix="model.template: chatml, another wire, or path of a Jinja file; or task: text",
        )
    )


def own_source(folder: Path) -> str:
    """Return the Jinja that a model folder brings; "" where it brings none.

    Raises:
        DataError: A file that should hold it cannot be read.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _read(path)
    for name in ("tokenizer_config.json", "chat_template.json"):
        source = read_json(folder / name).get("chat_template")
        if isinstance(source, list):
            source = next((t["template"] for t in source if t.get("name") == "default"), None)
        if isinstance(source, str) and source:
            return source
    return ""


def settle(folder: Path, named: str, listed: str) -> str:
    """Return what `choose` is to be given for a model that the catalogue may know.

    Args:
        folder: Where its tokenizer is.
        named: What the user says: `model.template`.
        listed: The wire that the catalogue's row leads to; "" for none. It goes after the model's
            own Jinja, and before what its config.json tells.
    """
    return listed if named == "auto" and listed and not own_source(folder) else named


def choose(folder: Path, named: str) -> Template:
    """Return the template that `model.template` names: auto, the path of a file, or a wire.

    Raises:
        DataError: There is no such file and no such wire.
    """
    if named == "auto":
        return load(folder)
    path = Path(named).expanduser()
    if path.is_file():
        return load(folder, path)
    if path.suffix or path.name != named:
        what = f"there is no file {path}"
        raise DataError(Problem(where="model.template", what=what, fix="template: auto"))
    return Template(wire_source(wire(named), folder), special_tokens(folder))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            Problem(where=str(path), what=f"the chat template cannot be read: {error}")
        ) from error
