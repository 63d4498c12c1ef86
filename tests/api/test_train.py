"""Live models, live rows, and what comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from swift import LoRAConfig, Swift, SwiftModel, prepare_model, train, train_dpo
from swift.core.errors import PlanError, RecipeError, UserError
from swift.tuner._quiet import quiet
from tests.kit import chat_rows, tiny_chat_model

OPTIONS: dict[str, Any] = {"max_steps": 3, "batch_size": 4, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("api"), hidden=64)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.chdir(tmp_path)
    lines = chat_rows(tmp_path / "rows.jsonl", 16).read_text().splitlines()
    return [json.loads(line) for line in lines]


def opened(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype="float32")


def test_a_live_model_trains_as_its_files_do(base: Path, rows: list[dict[str, Any]]) -> None:
    files = train(str(base), "rows.jsonl", output_dir="a", **OPTIONS)
    live = train(opened(base), rows, output_dir="b", **OPTIONS)
    assert [e["loss"] for e in live.history] == [e["loss"] for e in files.history]
    assert (live.checkpoint / "adapter_model.safetensors").read_bytes() == (
        files.checkpoint / "adapter_model.safetensors"
    ).read_bytes()
    config = json.loads((live.checkpoint / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)


def test_a_peft_model_trains_as_it_is(base: Path, rows: list[dict[str, Any]]) -> None:
    with quiet():
        model = get_peft_model(opened(base), LoraConfig(r=3, target_modules=["v_proj"]))
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    result = train(model, rows, output_dir="out", **OPTIONS)
    moved = {n for n, p in model.named_parameters() if n in before and (p != before[n]).any()}
    assert moved == set(before), "the adapter that was given is the one that moved"
    plan = json.loads((result.run / "plan.json").read_text())
    assert (plan["recipe"]["tuner"]["rank"], plan["recipe"]["tuner"]["targets"]) == (3, ["v_proj"])
    config = json.loads((result.checkpoint / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"]) == (3, ["v_proj"])


def test_four_bits_in_place_happen_once(base: Path, rows: list[dict[str, Any]]) -> None:
    model = SwiftModel(opened(base), {"r": 4})
    train(model, rows, output_dir="a", use_qlora=True, **OPTIONS)
    packed = [m for m in model.modules() if type(m).__name__ == "Linear4bit"]
    assert packed
    weights = [m.weight.data.clone() for m in packed]
    train(model, rows, output_dir="b", use_qlora=True, **OPTIONS)
    assert all(torch.equal(m.weight.data, w) for m, w in zip(packed, weights, strict=True))


def test_two_ways_to_an_adapter_are_one(base: Path) -> None:
    torch.manual_seed(1)
    one = SwiftModel(opened(base), {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1})
    torch.manual_seed(2)
    two = Swift.prepare_model(opened(base), LoRAConfig(r=4, lora_alpha=16, lora_dropout=0.1))
    a, b = dict(one.named_parameters()), dict(two.named_parameters())
    assert all(torch.equal(a[n], b[n]) for n in a) and a.keys() == b.keys()
    assert one.peft_config["default"].lora_alpha == 16


def test_mistakes_in_options_are_told_all_at_once(base: Path) -> None:
    with pytest.raises(RecipeError) as found:
        train(str(base), "rows.jsonl", learning_rat=1, lora_rank=0, epochs=-1)
    assert len(found.value.problems) == 3
    with pytest.raises(RecipeError, match="rnak"):
        SwiftModel(opened(base), {"rnak": 4})
    with pytest.raises(UserError, match="not a map"):
        train(str(base), [1, 2])
    with pytest.raises(UserError, match="adapter already"):
        Swift.prepare_model(SwiftModel(opened(base), {"r": 2}), LoRAConfig())


def test_an_unnamed_model_asks_for_its_tokenizer_and_takes_it(
    base: Path, rows: list[dict[str, Any]]
) -> None:
    model = opened(base)
    model.config._name_or_path = model.name_or_path = ""
    with pytest.raises(UserError, match="tokenizer"):
        train(model, rows, output_dir="out", **OPTIONS)
    tokenizer = AutoTokenizer.from_pretrained(base)
    result = train(model, rows, tokenizer=tokenizer, output_dir="out", **OPTIONS)
    assert (result.checkpoint / "tokenizer.json").is_file()


def test_what_comes_back_prints_well(base: Path, rows: list[dict[str, Any]]) -> None:
    result = train(str(base), rows, eval_dataset=rows[:4], output_dir="out", **OPTIONS)
    assert result.checkpoint in result.checkpoints
    assert len(result.history) == 3 and result.metrics["step"] == 3
    assert "loss" in str(result) and "<table>" in result._repr_html_()
    assert result.metrics["eval_loss"] > 0
    model, tokenizer = prepare_model(str(result.run))
    assert any(p.requires_grad for p in model.parameters())
    assert tokenizer.chat_template


def test_another_reference_counts(base: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """An unmoved policy pays log 2 beside itself, and something else beside another model."""
    pairs = [
        {"prompt": f"which {n}", "chosen": f"tall {n}", "rejected": f"no stone {n}"}
        for n in range(8)
    ]
    other = tiny_chat_model(tmp_path / "other", hidden=64, seed=5)
    own = train_dpo(str(base), None, pairs, output_dir="a", **OPTIONS)
    named = train_dpo(str(base), str(other), pairs, output_dir="b", **OPTIONS)
    live = train_dpo(str(base), opened(other), pairs, output_dir="c", **OPTIONS)
    assert own.history[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert abs(named.history[0]["loss"] - 0.693147) > 1e-2
    assert [e["loss"] for e in named.history] == [e["loss"] for e in live.history]
    with pytest.raises(PlanError, match="no model `no-such-model`"):
        train_dpo(str(base), "no-such-model", pairs, output_dir="d")
