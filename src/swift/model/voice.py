"""How a model that the catalogue knows speaks, where its tokenizer does not say."""

from __future__ import annotations

from pathlib import Path

from swift.chat.source import own_source, settle
from swift.chat.wires import type_of, wire_for, wire_of
from swift.model.names import find


def template_of(id: str, folder: Path, named: str = "auto") -> str:
    """Return the name of a model's chat template, as `swift.chat.source.choose` takes it.

    Args:
        id: As the user named the model. A name of the catalogue leads to its family's wire, unless
            the model brings Jinja of its own.
        folder: Where its tokenizer is.
        named: What the user says of the template: `model.template`.

    Raises:
        DataError: The model's own template cannot be read.
    """
    row = find(id) if named == "auto" else None
    return settle(folder, named, wire_for(row.ids, row.structure)) if row else named


def by_its_type(folder: Path) -> str:
    """Return which wire the folder's own `model_type` leads to, for people; "" where none does.

    Raises:
        DataError: The tokenizer is broken.
    """
    wire = wire_of(folder)
    return f"the wire `{wire.name}` (its model_type is {type_of(folder)})" if wire else ""


def called(folder: Path, named: str, said: str) -> str:
    """Return in a line which chat template a model speaks with, and why.

    Args:
        folder: Where its tokenizer is.
        named: What `template_of` returned.
        said: What the user says of the template: `model.template`.

    Raises:
        DataError: The model's own template or its tokenizer cannot be read.
    """
    if named != "auto":
        return named + (" (its family's: the tokenizer brings none)" if said != named else "")
    return ("" if own_source(folder) else by_its_type(folder)) or "the model's own"
