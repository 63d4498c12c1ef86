"""A folder whose config.json is not its weights' own is refused with both shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from swift.checkpoint import served
from swift.cli.main import main
from swift.core.errors import PlanError
from swift.engine.torch import Torch
from swift.model.facts import read_facts
from swift.model.skeleton import skeleton
from swift.model.weights import open_weights
from tests.kit import chat_rows, tiny_chat_model
from tests.model.test_families import tiny


def edited(folder: Path, **keys: int) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    return folder


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """Return a model of MLP width 64 whose config.json says 48."""
    return edited(tiny_chat_model(tmp_path / "model"), intermediate_size=48)


SAYS = "`model.layers.0.mlp.gate_proj.weight` is [64, 32] here, but [48, 32] by config.json"


def test_training_names_the_weight_both_shapes_and_the_file(
    stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = chat_rows(tmp_path / "rows.jsonl", 4)
    words = ["sft", "--model", str(stranger), "--dataset", str(rows), "--max_steps", "1"]
    assert main([*words, "--output_dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"{stranger / 'model.safetensors'}: {SAYS}" in said
    assert "3 further weights have other shapes too" in said
    assert "Traceback" not in said


def test_serving_names_them_too(stranger: Path) -> None:
    with pytest.raises(PlanError, match="fetch it again") as caught:
        Torch(dtype="float32").open(served(str(stranger)))
    first, *_, last = caught.value.problems
    assert (first.where, first.what) == (str(stranger / "model.safetensors"), SAYS)
    assert last.what == "3 further weights have other shapes too"


def test_so_does_whoever_opens_files_whose_names_transformers_changes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny("mixtral", 300)).save_pretrained(tmp_path / "model")
    facts = read_facts("mixtral", edited(tmp_path / "model", vocab_size=320))
    shapes = {name: w.shape for name, w in skeleton(facts, "sdpa").named_parameters()}
    with pytest.raises(PlanError, match="fetch it again") as caught:
        open_weights(facts, shapes)
    said = {problem.what for problem in caught.value.problems}
    assert "`lm_head.weight` is [300, 32] here, but [320, 32] by config.json" in said
