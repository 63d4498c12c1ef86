"""Text architectures of transformers, tiny and random: trained, saved, merged, reloaded, answered.

All that transformers lists for causal language modelling are here: those that go the whole way
through our product path, and those that do not, with the reason.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.auto import configuration_auto, modeling_auto

from swift.checkpoint import served
from swift.cli.main import main
from swift.core.errors import PlanError
from swift.engine import Request, Sampling
from swift.engine.torch import Torch
from swift.model.abilities import abilities, of_class
from swift.run.export import merge
from tests.kit import chat_rows, tiny_chat_model

PART_OF_A_LARGER_ONE = """blt cohere_compass_text dots3_note emu3 fuyu gemma3 gemma3n gemma4
gemma4_assistant gemma4_unified gemma4_unified_assistant git got_ocr2 llama4 mllama
moss_transcribe_diarize musicgen musicgen_melody phi4_multimodal qwen3_5 qwen3_5_moe
qwen4_exp""".split()
"""Multimodal models, or half a pair: issue of the multimodal tests."""

FAILS = {
    "prophetnet": "train: it says several words at once, each with a stream of its own",
    "reformer": "train: no gradient passes its reversible layers while the embedding is frozen; "
    "trained whole, it wants rows of whole chunks",
}
"""What our product path refuses, in these words."""

WITHOUT_CACHE = {"xlstm"}
"""Whose cached step, in transformers, wants another shape of state than its first step leaves."""

LISTED = sorted(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
WHOLE_WAY = [k for k in LISTED if k not in {*PART_OF_A_LARGER_ONE, *FAILS}]

SMALL: dict[str, int] = {
    **dict.fromkeys("hidden_size d_model n_embd dim embed_dim word_embed_proj_dim".split(), 32),
    **dict.fromkeys("intermediate_size ffn_dim n_inner d_ff ffn_hidden_size".split(), 64),
    **dict.fromkeys("num_hidden_layers n_layer n_layers num_layers".split(), 2),
    **dict.fromkeys("encoder_layers decoder_layers".split(), 2),
    **dict.fromkeys("num_attention_heads n_head n_heads num_heads".split(), 4),
    **dict.fromkeys("encoder_attention_heads decoder_attention_heads".split(), 4),
    **dict.fromkeys("max_position_embeddings n_positions".split(), 512),
    **dict.fromkeys("num_experts num_local_experts n_routed_experts moe_num_experts".split(), 4),
    **dict.fromkeys("num_experts_per_tok moe_k top_k_experts num_experts_per_token".split(), 2),
    **dict.fromkeys("moe_intermediate_size shared_expert_intermediate_size".split(), 16),
    **dict.fromkeys("expert_ffn_hidden_size moe_shared_expert_intermediate_size".split(), 16),
    **dict.fromkeys("n_group topk_group first_k_dense_replace n_groups mamba_n_groups".split(), 1),
    **dict.fromkeys("q_lora_rank kv_lora_rank qk_head_dim chunk_size".split(), 16),
    **dict.fromkeys("head_dim attention_head_dim qk_nope_head_dim qk_rope_head_dim".split(), 8),
    **dict.fromkeys("v_head_dim mamba_d_state mamba_d_head mamba_head_dim".split(), 8),
    **dict.fromkeys("ssm_state_size state_size mamba_n_heads mamba_num_heads".split(), 8),
    **dict.fromkeys("linear_key_head_dim linear_value_head_dim".split(), 8),
    **dict.fromkeys("num_key_value_heads linear_num_key_heads mamba_expand".split(), 2),
    "linear_num_value_heads": 4,
    "global_attn_every_n_layers": 2,
    "embedding_size": 32,
    **dict.fromkeys("mamba_d_ssm sliding_window attention_window_size".split(), 64),
    "lru_width": 32,
}
"""Whatever of these a configuration has becomes so small."""

BY_HAND = json.loads(Path(__file__).with_name("by_hand.json").read_text(encoding="utf-8"))
"""What no general rule makes small, by model type."""


def tiny(model_type: str, words: int) -> Any:
    """Return the configuration of a two-layer model, as small as its kind allows."""
    cls = configuration_auto.CONFIG_MAPPING[model_type]
    default = cls().to_dict()
    small: dict[str, Any] = {k: v for k, v in SMALL.items() if isinstance(default.get(k), int)}
    if "num_key_value_heads" in default:
        small["num_key_value_heads"] = 4 if "kv_lora_rank" in default else 2
    if "head_dim" in default:
        small["head_dim"] = 8
    kinds = default.get("layer_types")
    if kinds:
        small["layer_types"] = (list(dict.fromkeys(kinds)) * 2)[:2]
    for key, value in default.items():
        of_layers = "layer" in key or key.endswith(("types", "pattern"))
        if key not in small and isinstance(value, list) and value and of_layers:
            small[key] = value[:2]
    small |= BY_HAND.get(model_type, {})
    return cls(**small, vocab_size=words, bos_token_id=0, eos_token_id=2, pad_token_id=0)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tokenizer and rows, for all of them."""
    transformers.logging.set_verbosity_error()
    folder = tmp_path_factory.mktemp("families")
    tiny_chat_model(folder / "chat")
    chat_rows(folder / "rows.jsonl", 8)
    return folder


def written(model_type: str, shelf: Path, folder: Path) -> Path:
    """Write a random model of that type with the shelf's tokenizer."""
    words = json.loads((shelf / "chat" / "config.json").read_text())["vocab_size"]
    config = tiny(model_type, words)
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(config).parameters()
        assert sum(weight.numel() for weight in weights) < 3_000_000
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(shelf / "chat" / name, folder / name)
    return folder


def greedy(model: nn.Module, ids: list[int], *, cache: bool) -> list[int]:
    """Return four tokens of transformers' own greedy generation, or fewer if it ends."""
    say: Any = model.generate
    said = say(torch.tensor([ids]), max_new_tokens=4, do_sample=False, use_cache=cache)
    tokens: list[int] = said[0, len(ids) :].tolist()
    return tokens


def test_every_listed_architecture_is_accounted_for() -> None:
    apart = [*PART_OF_A_LARGER_ONE, *FAILS]
    assert len(apart) == len(set(apart))
    assert set(apart) <= set(LISTED)
    assert len(WHOLE_WAY) == 165


def trained(base: Path, shelf: Path, run: Path) -> tuple[int, str]:
    """Train two LoRA steps and return the exit code and what was said."""
    words = ["sft", "--model", str(base), "--dataset", str(shelf / "rows.jsonl"), "--lr", "0.01"]
    words += ["--max_steps", "2", "--batch_size", "2", "--output_dir", str(run)]
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        return main(words), told.getvalue()


def test_what_a_class_can_do_is_read_from_its_source_as_it_is() -> None:
    unknown = []
    for model_type in ("gpt2", "gpt_oss", "mamba", "qwen3_next", "gemma3_text", "internlm3"):
        name = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
        read = abilities(model_type, name)
        if read is None:
            unknown.append(model_type)
        else:
            assert read == of_class(getattr(transformers, name)), model_type
    assert unknown == ["internlm3"]  # which is computed by the class of another type


def test_a_model_that_is_not_served_says_so_before_it_is_trained(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = written("mamba", shelf, tmp_path / "base")
    rows = str(shelf / "rows.jsonl")
    assert main(["sft", "--model", str(base), "--dataset", rows, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert "the torch engine cannot answer with it: it carries a state" in told
    assert "after `swift merge`, transformers' generate can" in told
    assert "eager attention" in told
    assert main(["show", str(base)]) == 0
    assert "served      no: it carries a state" in capsys.readouterr().out
    with pytest.raises(PlanError, match="MambaForCausalLM: it carries a state") as caught:
        Torch(dtype="float32").open(served(str(base)))
    assert "swift merge" in caught.value.problems[0].fix


@pytest.mark.slow
@pytest.mark.parametrize("model_type", WHOLE_WAY)
@pytest.mark.filterwarnings("default")  # transformers' own, about what some of them lack
def test_an_architecture_is_trained_saved_merged_reloaded_and_answers(
    model_type: str, shelf: Path, tmp_path: Path
) -> None:
    base = written(model_type, shelf, tmp_path / "base")
    code, told = trained(base, shelf, tmp_path / "run")
    assert code == 0, told
    whole = merge(str(tmp_path / "run"), tmp_path / "merged")
    model, info = AutoModelForCausalLM.from_pretrained(whole, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    want = greedy(model, [5, 9, 11, 40], cache=model_type not in WITHOUT_CACHE)
    assert want
    sampling = Sampling(temperature=0, max_tokens=4, ignore_eos=True)
    try:
        engine = Torch(dtype="float32").open(served(str(whole)))
    except PlanError as refused:
        assert "the torch engine cannot run" in str(refused)
        return
    try:
        (answer,) = engine.generate([Request(ids=[5, 9, 11, 40], sampling=sampling)])
    finally:
        engine.close()
    assert list(answer.ids[: len(want)]) == want


@pytest.mark.parametrize(
    ("model_type", "says"),
    [
        ("prophetnet", "asks its head for words in 3 dimensions, not two"),
        ("reformer", "no gradient reaches the weights that are trained"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(
    model_type: str, says: str, shelf: Path, tmp_path: Path
) -> None:
    base = written(model_type, shelf, tmp_path / "base")
    code, told = trained(base, shelf, tmp_path / "run")
    assert code == 2, told
    assert says in told
    assert "Traceback" not in told
