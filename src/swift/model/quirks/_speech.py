"""Tokenizer, chat template and ends of answers of a folder with a tokenizer class of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swift.chat._special import read_json, special_tokens
from swift.model.quirks._layout import Speech
from swift.model.quirks._sentencepiece import fast_tokenizer, read_pieces

NAMES: Mapping[str, str] = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""What most sentencepiece models call their special tokens."""


def speech_of(
    folder: Path,
    *,
    names: Mapping[str, str] = NAMES,
    bos: bool,
    longest: int,
    said: Mapping[str, Any],
) -> Speech:
    """Return the speech of a folder: its tokenizer.json as it is, or one made of tokenizer.model.

    Args:
        folder: The model's folder.
        names: Its special tokens where tokenizer_config.json is silent.
        bos: Whether a text begins with `bos_token` where tokenizer_config.json is silent.
        longest: The longest text, in tokens.
        said: config.json, which may tell ids of tokens.

    Raises:
        PlanError: There is no tokenizer, or a fast one would give other ids.
        DataError: A file beside it is no JSON.
    """
    config = read_json(folder / "tokenizer_config.json")
    named = {**names, **special_tokens(folder)}
    generation = read_json(folder / "generation_config.json")
    head = [named["bos_token"]] if config.get("add_bos_token", bos) else []
    tokenizer, found = _made(folder, config, named, head, _numbers(said, generation))
    ids: dict[str, Any] = {
        f"{name}_id": found.get(text) for name, text in named.items() if name != "unk_token"
    }
    ids |= {k: v for k, v in said.items() if k in _ENDS and isinstance(v, int | list)}
    return Speech(
        tokenizer=tokenizer,
        config=tokenizer_config(named, longest),
        generation=kept(generation, ids),
        ids={key: number for key, number in ids.items() if key in _ENDS and number is not None},
        template=template_of(folder, config),
    )


def _made(
    folder: Path,
    config: Mapping[str, Any],
    named: Mapping[str, str],
    head: Sequence[str],
    told: Sequence[int],
) -> tuple[Mapping[str, Any] | bytes, Mapping[str, int]]:
    """Return what tokenizer.json holds, and the ids of special tokens."""
    if (folder / "tokenizer.json").is_file():
        own = (folder / "tokenizer.json").read_bytes()
        return own, {t["content"]: t["id"] for t in json.loads(own).get("added_tokens", ())}
    path = folder / "tokenizer.model"
    pieces = read_pieces(path)
    place = {text: i for i, text in enumerate(pieces.texts)}
    special = {text: place[text] for text in named.values() if text in place}
    special |= {pieces.texts[i]: i for i in told if i < len(place)}
    special |= _added(folder, config)
    return fast_tokenizer(pieces, path, special, begin=head), special


_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def tokenizer_config(named: Mapping[str, str], longest: int) -> dict[str, Any]:
    """Return tokenizer_config.json: the plain class, so that no code and no other rules act."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: text for name, text in named.items() if name.count("_") == 1},
        "clean_up_tokenization_spaces": False,
        "model_max_length": longest,
    }


def kept(generation: Mapping[str, Any], ids: Mapping[str, Any]) -> dict[str, Any]:
    """Return generation_config.json: plain values, and the ids that it does not tell itself."""
    own = {k: v for k, v in generation.items() if k != "transformers_version"}
    more = {k: v for k, v in ids.items() if k in _ENDS and v is not None}
    return {**more, **own}


def template_of(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the folder's chat template: its file, or tokenizer_config.json's; "" for none."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    said = config.get("chat_template")
    if isinstance(said, list):  # several by name
        named = {t.get("name"): t.get("template") for t in said if isinstance(t, dict)}
        said = named.get("default")
    return said if isinstance(said, str) else ""


def _numbers(*places: Mapping[str, Any]) -> Sequence[int]:
    """Return the ids that keys such as user_token_id tell: tokens that templates will write."""
    said = [v for place in places for k, v in place.items() if k.endswith("_token_id")]
    flat = [n for v in said for n in (v if isinstance(v, list) else [v])]
    return [n for n in flat if type(n) is int and n >= 0]


def _added(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Return the tokens that were added to the sentencepiece model, or took places in it."""
    found = {
        str(text): number
        for text, number in read_json(folder / "added_tokens.json").items()
        if type(number) is int
    }
    table = config.get("added_tokens_decoder")
    for number, token in (table if isinstance(table, dict) else {}).items():
        if isinstance(token, dict) and str(number).isdecimal():
            found[str(token.get("content"))] = int(number)
    return found
