"""Buffers that a model's files hold are read with it and written with it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from swift.model.facts import read_facts
from swift.model.skeleton import skeleton, stored_buffers
from swift.tuner._whole import save_model
from tests.kit import tiny_model


def routed(folder: Path) -> dict[str, torch.Tensor]:
    """Write a tiny DeepSeek-V3 whose routers are balanced by random numbers; return those."""
    config = AutoConfig.for_model(
        "deepseek_v3",
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=16,
        num_hidden_layers=3,
        first_k_dense_replace=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=8,
        v_head_dim=8,
    )
    model = AutoModelForCausalLM.from_config(config)
    buffers = stored_buffers(model)
    for value in buffers.values():
        value.normal_()
    model.save_pretrained(folder)
    return buffers


def test_a_skeleton_has_the_buffers_of_its_files(tmp_path: Path) -> None:
    want = routed(tmp_path)
    assert [name.rsplit(".", 1)[-1] for name in want] == ["e_score_correction_bias"] * 2
    got = stored_buffers(skeleton(read_facts("x", tmp_path), "sdpa"))
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert not torch.equal(*want.values())


def test_a_whole_model_is_written_with_its_buffers(tmp_path: Path) -> None:
    want = routed(tmp_path / "a")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    (tmp_path / "b").mkdir()
    save_model(model.named_parameters(), model, tmp_path / "b")
    stored = load_file(tmp_path / "b" / "model.safetensors")
    assert all(torch.equal(stored[name], want[name]) for name in want)


def test_an_architecture_without_sdpa_computes_eagerly(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "g", kind="gemma2")
    assert skeleton(read_facts("g", folder), "sdpa").config._attn_implementation == "eager"  # type: ignore[union-attr]
    folder = tiny_model(tmp_path / "q")
    assert skeleton(read_facts("q", folder), "sdpa").config._attn_implementation == "sdpa"  # type: ignore[union-attr]
