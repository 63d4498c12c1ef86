"""Broken and hostile adapters: refused in words with the file's name, merged or applied."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from swift.core.errors import PlanError
from swift.model.facts import read_facts
from swift.model.skeleton import skeleton
from swift.model.weights import open_weights
from swift.tuner import applied, merged
from swift.tuner._quiet import quiet
from tests.kit import tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def sound(base: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    kept = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    with quiet():
        get_peft_model(model, kept).save_pretrained(base.parent / "adapter")
    return base.parent / "adapter"


def edited(sound: Path, folder: Path, **keys: object) -> Path:
    path = shutil.copytree(sound, folder) / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return folder


def put(base: Path, adapter: Path) -> None:
    from transformers import AutoModelForCausalLM

    applied(AutoModelForCausalLM.from_pretrained(base), adapter)


def added(base: Path, adapter: Path) -> None:
    facts = read_facts("base", base)
    model = skeleton(facts, "sdpa")
    weights = open_weights(facts, {n: p.shape for n, p in model.named_parameters()})
    merged(weights, adapter, facts, model)


def test_a_sound_one_is_taken_either_way(base: Path, sound: Path) -> None:
    put(base, sound)
    added(base, sound)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("r", "x"),
        ("r", -4),
        ("r", 10**14),
        ("target_modules", 5),
        ("target_modules", ["no_such_layer"]),
        ("target_modules", "("),
        ("init_lora_weights", "no_such_way"),
        ("rank_pattern", 5),
        ("layer_replication", [[0, 10**9]]),
        ("modules_to_save", 7),
        ("lora_dropout", "x"),
    ],
)
def test_what_peft_raises_names_the_file(
    key: str, said: object, base: Path, sound: Path, tmp_path: Path
) -> None:
    adapter = edited(sound, tmp_path / "adapter", **{key: said})
    with pytest.raises(PlanError, match="PEFT cannot put the adapter") as caught:
        put(base, adapter)
    assert caught.value.problems[0].where == str(adapter / "adapter_config.json")


@pytest.mark.parametrize(
    ("key", "said", "says"),
    [
        ("lora_alpha", "x", "not a number"),
        ("lora_alpha", math.nan, "not a number"),
        ("lora_alpha", math.inf, "not a number"),
        ("alpha_pattern", 5, "is no map"),
        ("alpha_pattern", {"(": 4}, "is no pattern"),
        ("alpha_pattern", {"q_proj": []}, "not a number"),
    ],
)
def test_a_scale_that_is_no_number_is_not_merged(
    key: str, said: object, says: str, base: Path, sound: Path, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=says):
        added(base, edited(sound, tmp_path / "adapter", **{key: said}))


@pytest.mark.parametrize("broken", ["gone", "flat", "narrow"])
def test_halves_that_make_no_product_are_not_merged(
    broken: str, base: Path, sound: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sound, tmp_path / "adapter")
    held = load_file(folder / "adapter_model.safetensors")
    name = next(n for n in held if ".lora_B." in n)
    half = held.pop(name)
    if broken != "gone":
        held[name] = half.flatten() if broken == "flat" else half[:, :2].contiguous()
    save_file(held, folder / "adapter_model.safetensors")
    with pytest.raises(PlanError, match="no product of two matrices"):
        added(base, folder)
