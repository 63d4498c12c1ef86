"""How a model that the catalogue knows speaks, where its tokenizer does not say."""

from __future__ import annotations

from pathlib import Path

from swift.chat.template import settle
from swift.chat.wires import wire_for
from swift.model.names import find


def template_of(id: str, folder: Path, named: str = "auto") -> str:
    """Return the name of a model's chat template, as `swift.chat.template.choose` takes it.

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
