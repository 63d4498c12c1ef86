"""What a configuration alone says of a model, over every model type that transformers has."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from transformers.models.auto import configuration_auto, modeling_auto

from swift.model.kind import MODALITIES, ROLES, Kind, family_of, kind_of

WITHOUT_DEFAULTS = {"gemma4_assistant", "nougat"}
"""transformers' own default configuration of these cannot be made."""

DECLARED_OTHERWISE = {
    # The language model of a larger one: its class inherits what the larger one reads.
    "blt": "its class says image; it reads bytes",
    "cohere_compass_text": "inherited",
    "gemma3_text": "inherited",
    "gemma3n_text": "inherited",
    "gemma4_text": "inherited",
    "gemma4_unified_text": "inherited",
    "llama4_text": "inherited",
    "minimax_m3_vl_text": "inherited",
    # It gives sound out, or has an audio tower that the class does not declare.
    "moshi": "hears and speaks; its class for text alone says text",
    "musicgen": "gives sound",
    "musicgen_melody": "gives sound",
    "muse_spark": "has an audio_config",
}
"""Where transformers' `input_modalities` is not what goes in and out, and why."""

GENERATORS = (
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)


@cache
def kinds() -> dict[str, Kind]:
    """Return model type -> kind, of transformers' default configurations without any name."""
    found = {}
    for model_type in sorted(set(configuration_auto.CONFIG_MAPPING_NAMES) - WITHOUT_DEFAULTS):
        config: dict[str, Any] = configuration_auto.CONFIG_MAPPING[model_type]().to_dict()
        for name in ("_name_or_path", "architectures"):
            config.pop(name, None)
        found[model_type] = kind_of(config)
    return found


def declared(model_type: str) -> set[str]:
    """Return what transformers' classes of a generating model say that they read."""
    module = importlib.import_module(
        f"transformers.models.{configuration_auto.model_type_to_module_name(model_type)}"
    )
    found: set[str] = set()
    for table in GENERATORS:
        cls = getattr(module, table.get(model_type, ""), None)
        said = getattr(cls, "input_modalities", ()) if cls else ()
        found |= {said} if isinstance(said, str) else set(said)
    return found


def test_every_native_default_configuration_gives_family_modality_and_roles() -> None:
    assert len(kinds()) > 800
    silent = [
        k for k, kind in kinds().items() if not (kind.family and kind.modality and kind.roles)
    ]
    assert silent == []
    assert all(set(kind.modality) <= set(MODALITIES) for kind in kinds().values())
    assert all(set(kind.roles) <= set(ROLES) for kind in kinds().values())


def test_what_generates_text_reads_what_its_class_declares() -> None:
    checked = 0
    wrong: dict[str, tuple[set[str], set[str]]] = {}
    for model_type, kind in kinds().items():
        if want := declared(model_type):
            checked += 1
            want |= {"text"}
            if set(kind.modality) != want:
                wrong[model_type] = (set(kind.modality), want)
    assert checked > 290
    assert wrong.keys() == DECLARED_OTHERWISE.keys(), wrong


@pytest.mark.parametrize(
    ("structure", "family"),
    [
        ("qwen2_5_vl", "qwen"),
        ("qwen", "qwen"),
        ("glm4v_moe", "glm"),
        ("glm46v", "glm"),
        ("llava_next", "llava"),
        ("kosmos-2.5", "kosmos"),
        ("wav2vec2-bert", "wav2vec"),
        ("t5", "t5"),
        ("internvl", "internvl"),
        ("something_new_7", "something"),
        ("", ""),
    ],
)
def test_the_family_is_the_wide_word(structure: str, family: str) -> None:
    assert family_of(structure) == family


def odd() -> Iterator[dict[str, Any]]:
    yield {}
    yield {"model_type": None, "architectures": "GPT", "vocab_size": "many"}
    yield {"model_type": ["a"], "architectures": [None], "text_config": [1]}
    deep: dict[str, Any] = {"vocab_size": 1}
    for _ in range(2000):
        deep = {"text_config": deep}
    yield deep


@pytest.mark.parametrize("config", list(odd()), ids=["empty", "words", "lists", "deep"])
def test_no_configuration_is_too_odd(config: dict[str, Any]) -> None:
    assert isinstance(kind_of(config), Kind)


def test_a_model_nobody_listed_is_known_by_its_configuration() -> None:
    kind = kind_of(
        {
            "model_type": "acme_vl2",
            "architectures": ["AcmeForConditionalGeneration"],
            "auto_map": {"AutoConfig": "acme.AcmeConfig"},
            "text_config": {"model_type": "llama", "vocab_size": 9},
            "vision_config": {"model_type": "clip_vision_model", "patch_size": 14},
        }
    )
    assert (kind.family, kind.structure, kind.code) == ("acme", "acme_vl2", True)
    assert kind.modality == ("text", "image")
    assert kind.roles == ("vision", "aligner", "language", "head", "attention", "mlp")
