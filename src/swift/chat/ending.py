"""Whether a wire's end of an answer is a token of the model, tried before anything is opened."""

from __future__ import annotations

import re
from pathlib import Path

from swift.chat.tokenize import Tokenizer
from swift.chat.wires import wires
from swift.core.errors import DataError, Problem

_TOKEN = re.compile(r"<\|[^|<>]+\|>|<[^|<>\s]+>")


def can_end(named: str, folder: Path) -> None:
    """See to it that a model's vocabulary holds the token that a named wire ends an answer with.

    Args:
        named: What `choose` takes; anything but a wire's name passes.
        folder: Where the tokenizer is.

    Raises:
        DataError: It does not: it would be written letter by letter, and no answer would end.
    """
    wire = wires.get(named)
    end = wire.end.strip() if wire else ""
    if wire is None or wire.stops or not _TOKEN.fullmatch(end):
        return
    if Tokenizer.load(folder).backend.token_to_id(end) is None:
        what = f"the wire `{named}` ends an answer with `{end}`, a token that {folder} has not"
        fix = "model.template: auto, another wire, or the path of a Jinja file"
        raise DataError(Problem(where="model.template", what=what, fix=fix))
