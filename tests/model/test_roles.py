"""Which modules play which role, in every multimodal model that transformers builds."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, AutoModelForSpeechSeq2Seq
from transformers.models.auto import configuration_auto, modeling_auto

from swift.model.kind import kind_of
from swift.model.roles import Roles, find_roles

NATIVE = sorted(modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)

NO_TOWER = {"fuyu", "gemma4", "gemma4_unified", "mistral4", "udop"}
"""Patches go straight to the language model (fuyu, udop), or the default has no tower."""

NO_ALIGNER = {
    *("chameleon", "emu3", "gemma4", "gemma4_unified"),
    *("kyutai_speech_to_text", "mistral4", "pix2struct"),
}
NO_HEAD = {"pi0"}
"""It moves a robot: its numbers are of joints, not of words."""


MADE_WHOLE: dict[str, dict[str, Any]] = {
    "aya_vision": {
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 384,
        }
    },
    "chameleon": {"vocabulary_map": {"<image>": 5}},
    "emu3": {"vocabulary_map": {"<image>": 5}},
}
"""What some configurations lack by default, and every model's own file has."""

WELL_KNOWN: dict[str, tuple[str, str, str]] = {
    "aya_vision": ("vision_tower", "multi_modal_projector", "language_model"),
    "chameleon": ("vqmodel", "", "embed_tokens layers norm"),
    "cohere2_vision": ("vision_tower", "multi_modal_projector", "language_model"),
    "emu3": ("vqmodel", "", "text_model"),
    "gemma3": ("vision_tower", "multi_modal_projector", "language_model"),
    "glm4v": ("visual", "visual.merger", "language_model"),
    "idefics3": ("vision_model", "connector", "text_model"),
    "internvl": ("vision_tower", "multi_modal_projector", "language_model"),
    "janus": (
        "vision_model vqmodel",
        "aligner generation_embeddings generation_aligner generation_head",
        "language_model",
    ),
    "llava": ("vision_tower", "multi_modal_projector", "language_model"),
    "llava_onevision": (
        "vision_tower",
        "image_newline multi_modal_projector",
        "language_model",
    ),
    "mistral3": ("vision_tower", "multi_modal_projector", "language_model"),
    "mllama": ("vision_model", "multi_modal_projector", "language_model"),
    "ovis2": (
        "vision_tower.transformer",
        "vision_tower.head_linear vision_tower.head_norm visual_embeddings_table",
        "language_model",
    ),
    "paligemma": ("vision_tower", "multi_modal_projector", "language_model"),
    "qwen2_vl": ("visual", "visual.merger", "language_model"),
    "smolvlm": ("vision_model", "connector", "text_model"),
    "voxtral": ("audio_tower", "multi_modal_projector", "language_model"),
}
"""Tower, aligner and language model, below `model.`, as one reads them in the model's source."""


@cache
def built(model_type: str) -> nn.Module | None:
    """Return the default model of a type on meta; None where transformers cannot build it."""
    config = configuration_auto.CONFIG_MAPPING[model_type]
    speech = model_type == "whisper"
    auto = AutoModelForSpeechSeq2Seq if speech else AutoModelForMultimodalLM
    if model_type in ("llama", "gpt2", "qwen3_moe"):
        auto = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            model: nn.Module = auto.from_config(config(**MADE_WHOLE.get(model_type, {})))
    except Exception:  # whatever its default configuration lacks: docs/models.md lists it
        return None
    return model


def roles(model_type: str) -> Roles:
    model = built(model_type)
    assert model is not None
    return find_roles(model)


def test_most_native_multimodal_models_are_built_by_their_default_configuration() -> None:
    assert sum(built(model_type) is not None for model_type in NATIVE) >= 101


@pytest.mark.parametrize("model_type", NATIVE)
def test_every_weight_has_a_role_and_every_role_its_weights(model_type: str) -> None:
    model = built(model_type)
    if model is None:
        pytest.skip("its default configuration builds no model")
    found = find_roles(model)
    kind = kind_of(configuration_auto.CONFIG_MAPPING[model_type]().to_dict())
    owners = (*found.vision, *found.audio, *found.aligner, *found.language, *found.head)
    for name, _ in model.named_parameters():
        assert any(name == o or name.startswith(o + ".") for o in (*owners, *found.other)), name
    assert found.language
    assert bool(found.head) == (model_type not in NO_HEAD)
    assert bool(found.aligner) == (model_type not in NO_ALIGNER)
    towers = found.vision + found.audio
    assert bool(towers) == (model_type not in NO_TOWER)
    assert not found.vision or "vision" in kind.roles
    assert not found.audio or "audio" in kind.roles
    assert found.attention
    assert found.mlp
    assert not set(found.attention) & set(found.mlp)


@pytest.mark.parametrize("model_type", WELL_KNOWN)
def test_towers_aligners_and_language_models_are_those_of_the_source(model_type: str) -> None:
    found = roles(model_type)
    want = [tuple(f"model.{name}" for name in said.split()) for said in WELL_KNOWN[model_type]]
    assert [found.vision + found.audio, found.aligner, found.language] == want
    assert found.head == ("lm_head",)


@pytest.mark.parametrize(
    ("model_type", "want"),
    [
        (
            "qwen2_5_vl",
            {
                "vision": ("model.visual",),
                "aligner": ("model.visual.merger",),
                "language": ("model.language_model",),
                "head": ("lm_head",),
            },
        ),
        (
            "qwen3_vl",
            {
                "vision": ("model.visual",),
                "aligner": ("model.visual.merger", "model.visual.deepstack_merger_list"),
                "language": ("model.language_model",),
            },
        ),
        (
            "llava_next",
            {
                "vision": ("model.vision_tower",),
                "aligner": ("model.image_newline", "model.multi_modal_projector"),
                "language": ("model.language_model",),
                "head": ("lm_head",),
            },
        ),
        (
            "blip-2",
            {
                "vision": ("vision_model",),
                "aligner": ("query_tokens", "qformer", "language_projection"),
                "language": ("language_model.model.decoder",),
                "head": ("language_model.lm_head",),
            },
        ),
        (
            "idefics",
            {
                "vision": ("model.vision_model",),
                "aligner": ("model.gated_cross_attn_layers",),
                "language": ("model.embed_tokens", "model.layers", "model.norm"),
            },
        ),
        (
            "idefics2",
            {"vision": ("model.vision_model",), "aligner": ("model.connector",)},
        ),
        (
            "git",
            {
                "vision": ("git.image_encoder",),
                "aligner": ("git.visual_projection",),
                "language": ("git.embeddings", "git.encoder"),
                "head": ("output",),
            },
        ),
        (
            "instructblip",
            {
                "vision": ("vision_model",),
                "aligner": ("query_tokens", "qformer", "language_projection"),
                "language": ("language_model.model.decoder",),
                "head": ("language_model.lm_head",),
            },
        ),
        (
            "kosmos-2",
            {
                "vision": ("vision_model",),
                "aligner": ("image_to_text_projection",),
                "language": ("text_model.model",),
                "head": ("text_model.lm_head",),
            },
        ),
        (
            "phi4_multimodal",
            {
                "vision": ("model.embed_tokens_extend.image_embed.img_processor",),
                "audio": ("model.embed_tokens_extend.audio_embed.encoder",),
                "aligner": tuple(
                    f"model.embed_tokens_extend.{path}"
                    for path in (
                        "image_embed.global_img_feature_extensor",
                        "image_embed.sub_img_feature_extensor",
                        "image_embed.img_projection_up",
                        "image_embed.img_projection_down",
                        "audio_embed.up_proj_for_speech",
                        "audio_embed.down_proj_for_speech",
                        "audio_embed.up_proj_for_vision_speech",
                        "audio_embed.down_proj_for_vision_speech",
                    )
                ),
                "language": ("model.embed_tokens", "model.layers", "model.norm"),
            },
        ),
        (
            "qwen2_audio",
            {
                "audio": ("model.audio_tower",),
                "aligner": ("model.multi_modal_projector",),
                "language": ("model.language_model",),
            },
        ),
        (
            "whisper",
            {"audio": ("model.encoder",), "language": ("model.decoder",), "head": ("proj_out",)},
        ),
        (
            "qwen2_5_omni",
            {
                "vision": ("thinker.model.visual",),
                "language": ("thinker.model.language_model",),
                "head": ("thinker.lm_head",),
                "other": ("talker",),
            },
        ),
        ("llama", {"vision": (), "aligner": (), "language": ("model",), "head": ("lm_head",)}),
        ("gpt2", {"language": ("transformer",), "head": ("lm_head",)}),
    ],
)
def test_the_paths_are_those_of_the_source(
    model_type: str, want: dict[str, tuple[str, ...]]
) -> None:
    found = roles(model_type)
    assert {role: getattr(found, role) for role in want} == want


@pytest.mark.parametrize(
    ("model_type", "block", "attention", "mlp"),
    [
        ("llama", "model.layers.0", "q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj"),
        ("gpt2", "transformer.h.0", "c_attn attn.c_proj", "c_fc mlp.c_proj"),
        ("qwen3_moe", "model.layers.0", "q_proj k_proj v_proj o_proj", "experts"),
        ("qwen2_5_vl", "model.visual.blocks.0", "qkv attn.proj", "gate_proj up_proj down_proj"),
        ("whisper", "model.encoder.layers.0", "q_proj k_proj v_proj out_proj", "fc1 fc2"),
        (
            "qwen3_5",
            "model.language_model.layers.0",
            "in_proj_qkv in_proj_z in_proj_b in_proj_a out_proj",
            "gate_proj up_proj down_proj",
        ),
    ],
)
def test_attention_and_perceptron_of_a_block(
    model_type: str, block: str, attention: str, mlp: str
) -> None:
    found = roles(model_type)
    for paths, words in ((found.attention, attention), (found.mlp, mlp)):
        inside = [path for path in paths if path.startswith(block + ".")]
        assert len(inside) == len(words.split())
        for word in words.split():
            assert sum(path.endswith("." + word) for path in inside) == 1, (word, inside)
