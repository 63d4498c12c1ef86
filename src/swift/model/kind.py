"""What a model is, read from its config.json: family, modality and the roles of its parts.

Its name says nothing here. The sizes and token ids that a configuration holds show what goes in:
`vocab_size` is text, `patch_size` an image, `num_mel_bins` sound, `video_token_id` a video. The few
model types whose configuration shows it nowhere (sound cut by a tokenizer of its own, images passed
as words) are rows of kinds.csv.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from swift.core.table import remembered
from swift.model.structures import families

MODALITIES = ("text", "image", "video", "audio", "series")
"""What a model may take in or give out; `series` are numbers over time."""

ROLES = ("vision", "audio", "aligner", "language", "head", "attention", "mlp")
"""Parts: towers, what joins them to the language model, that itself, and what is in its blocks."""

_SIGNS = {
    "image": "image_size image_token_id image_token_index image_token_ids in_chans",
    "video": "video_token_id video_token_index num_frames frames_per_clip tubelet_size",
    "audio": "num_mel_bins n_mels n_mel_bins mel_dim sampling_rate sample_rate audio_channels "
    "audio_token_id audio_token_index feat_extract_norm feature_projection_input_dim "
    "input_feat_size",
    "series": "prediction_length horizon_length",
}
_SIGN_OF = {key: modality for modality, keys in _SIGNS.items() for key in keys.split()}

_PICTURE = ("num_channels", "patch_size")
"""An image's, if nothing else at the same place says sound."""

_PARTS = {
    "image": frozenset({"vision", "visual", "image", "sam"}),
    "audio": frozenset({"audio", "speech", "acoustic", "codec", "vocoder"}),
    "text": frozenset({"text"}),
}
"""Words in the key of a nested configuration."""

_NO_WORDS = frozenset({"type", "char", "audio", "vision", "codebook"})
"""`type_vocab_size` counts segments: no sign of text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What config.json says of a model."""

    family: str
    """The wide word: qwen, llama; "" where config.json has no model_type."""

    structure: str
    """transformers' model_type; "" where there is none."""

    architecture: str
    """The class: Qwen3ForCausalLM; "" where it is not said."""

    modality: tuple[str, ...]
    """What it takes in or gives out, in the order of MODALITIES."""

    roles: tuple[str, ...]
    """The parts it should have, in the order of ROLES."""

    code: bool
    """Whether the folder asks for code of its own (`auto_map`)."""


def kind_of(config: Mapping[str, Any]) -> Kind:
    """Return what the content of a config.json says of its model."""
    structure = _word(config.get("model_type"))
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    modality = _modality(config, structure)
    return Kind(
        family=family_of(structure),
        structure=structure,
        architecture=_word(first),
        modality=modality,
        roles=_roles(modality),
        code=bool(config.get("auto_map")),
    )


def family_of(structure: str) -> str:
    """Return the wide word of a model_type: qwen2_5_vl is qwen, wav2vec2-bert is wav2vec."""
    listed = _families().get(structure)
    if listed:
        return listed
    stem = re.split(r"[_.-]", structure)[0]
    version = re.fullmatch(r"([a-z]{3,})\d+[a-z]{0,2}", stem)
    if version:
        return version[1]
    letters = stem.rstrip("0123456789")
    return letters if len(letters) > 1 else stem


def _modality(config: Mapping[str, Any], structure: str) -> tuple[str, ...]:
    found = set(_exceptions().get(structure, ())) or _shown(config) or _named(structure)
    return tuple(m for m in MODALITIES if m in found)


def _shown(config: Mapping[str, Any], depth: int = 0) -> set[str]:
    """Return the modalities that the keys of a configuration and of those inside it show."""
    found: set[str] = set()
    for key, value in config.items():
        if isinstance(value, Mapping):
            if depth < 6 and ("model_type" in value or key.endswith("_config") or key in _BARE):
                found |= _named(key) | _shown(value, depth + 1)
        elif _counts_words(key):
            found.add("text")
        elif value not in (None, False) and key in _SIGN_OF:
            found.add(_SIGN_OF[key])
    if not found & {"audio", "text"} and any(config.get(key) is not None for key in _PICTURE):
        found.add("image")
    if found == {"audio", "text"} and _word(config.get("model_type")).endswith("_encoder"):
        found.remove("text")  # the size of a vocabulary that only its decoder uses
    return found


_BARE = ("visual", "audio", "encoder", "decoder")
"""Keys of nested configurations without the word `config`."""


def _named(key: str) -> set[str]:
    words = set(re.split(r"[_-]", key))
    return {modality for modality, signs in _PARTS.items() if words & signs}


def _counts_words(key: str) -> bool:
    return key.endswith("vocab_size") and not _NO_WORDS & set(key.split("_"))


def _roles(modality: Iterable[str]) -> tuple[str, ...]:
    """Return the roles that a model of these modalities has, as far as its keys can tell."""
    reads = set(modality)
    towers = {"vision"} if reads & {"image", "video"} else set[str]()
    towers |= {"audio"} if "audio" in reads else set()
    roles = towers | {"attention", "mlp"}
    if "text" in reads:
        roles |= {"language", "head"} | ({"aligner"} if towers else set())
    return tuple(role for role in ROLES if role in roles)


def _word(said: object) -> str:
    return said if isinstance(said, str) else ""


@remembered
def _families() -> dict[str, str]:
    """Return model_type -> family; a structure's own name is one too."""
    found: dict[str, str] = {}
    for row in families:
        if row.status in ("native", "mapped", "remote"):
            for structure in (row.structure, *row.model_types):
                found.setdefault(structure, row.family)
    found.pop("", None)
    return found


@cache
def _exceptions() -> dict[str, tuple[str, ...]]:
    path = Path(__file__).parent / "kinds.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["model_type"]: tuple(row["modality"].split("+")) for row in csv.DictReader(file)
        }
