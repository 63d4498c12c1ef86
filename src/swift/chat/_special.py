"""The special tokens that a model folder names, as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift.core.errors import DataError, Problem


def special_tokens(folder: Path) -> dict[str, str]:
    """Return `bos_token`, `eos_token`, ... as tokenizer_config.json names them.

    What it leaves out is taken from special_tokens_map.json, of older folders.
    """
    config = read_json(folder / "tokenizer_config.json")
    extra = config.get("extra_special_tokens")
    named = {
        **read_json(folder / "special_tokens_map.json"),
        **(extra if isinstance(extra, dict) else {}),
        **{name: token for name, token in config.items() if token},
    }
    texts = {
        name: token.get("content") if isinstance(token, dict) else token
        for name, token in named.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def read_json(path: Path) -> dict[str, Any]:
    """Return a file's object; an empty one where there is no file.

    Raises:
        DataError: The file holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(Problem(where=str(path), what=f"not JSON: {error}")) from error
    if not isinstance(found, dict):
        raise DataError(Problem(where=str(path), what="not a JSON object"))
    return found
