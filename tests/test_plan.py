"""A plan: what was decided, and all that cannot be done here at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift.core.errors import PlanError
from swift.plan import Plan, read_plan, resolve, write_plan
from swift.recipe import Recipe, read
from tests.kit import chat_rows, tiny_chat_model

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "rows.jsonl", 10)
    return folder


def plan(base: Path, *flags: tuple[str, object]) -> Plan:
    named = [("model", str(base / "model")), ("dataset", str(base / "rows.jsonl"))]
    return resolve(read(None, [*named, *flags], "sft"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_plans(path: Path, base: Path) -> None:
    flags = [("model", str(base / "model"))] if "build/" in path.read_text() else []
    made = resolve(read(path, flags, None))
    assert made.sizes.batch >= made.sizes.micro


@pytest.mark.parametrize(
    ("flags", "sizes"),
    [
        ([], (16, 4, 4)),
        ([("batch_size", 6)], (6, 4, 2)),
        ([("per_device_train_batch_size", 4)], (4, 4, 1)),
        ([("micro_batch_size", 2), ("gradient_accumulation_steps", 3)], (6, 2, 3)),
        ([("batch_size", 8), ("gradient_accumulation_steps", 4)], (8, 2, 4)),
        ([("gradient_accumulation_steps", 5)], (20, 4, 5)),
        ([("batch_size", 16), ("nproc_per_node", 2)], (16, 4, 2)),
        ([("per_device_train_batch_size", 4), ("nproc_per_node", 2)], (8, 4, 1)),
    ],
)
def test_two_sizes_give_the_third(
    flags: list[tuple[str, object]], sizes: tuple[int, int, int], base: Path
) -> None:
    made = plan(base, *flags).sizes
    assert (made.batch, made.micro, made.accumulation) == sizes


@pytest.mark.parametrize(
    ("flags", "strategy"),
    [
        ([], "none"),
        ([("nproc_per_node", 2)], "ddp"),
        ([("nproc_per_node", 2), ("parallel.strategy", "fsdp")], "fsdp"),
        ([("nproc_per_node", 2), ("tensor_model_parallel_size", 2)], "tp"),
    ],
)
def test_the_strategy_follows_from_the_processes(
    flags: list[tuple[str, object]], strategy: str, base: Path
) -> None:
    assert plan(base, *flags).strategy == strategy


def test_all_problems_come_at_once(base: Path) -> None:
    flags = [
        ("tensor_model_parallel_size", 4),
        ("nproc_per_node", 4),
        ("data.max_length", 100_000),
        ("dataset", str(base / "nothing.jsonl")),
    ]
    with pytest.raises(PlanError) as caught:
        plan(base, *flags)
    text = str(caught.value)
    for said in ("key/value heads", "reads at most 256", "nothing.jsonl"):
        assert said in text
    assert all(p.fix for p in caught.value.problems)


def test_a_decision_nobody_made_is_said_aloud(base: Path) -> None:
    notes = " ".join(plan(base).notes)
    assert "learning rate" in notes
    assert "float32" in notes
    assert not plan(base, ("lr", 1e-3), ("model.dtype", "float32")).notes


def test_a_plan_comes_back_from_its_file(base: Path, tmp_path: Path) -> None:
    made = plan(base, ("tuner", "lora"), ("train.epochs", 2))
    write_plan(made, tmp_path)
    assert read_plan(tmp_path) == made


def test_a_plan_changed_by_hand_is_refused(base: Path, tmp_path: Path) -> None:
    write_plan(plan(base), tmp_path)
    path = tmp_path / "plan.json"
    dump = json.loads(path.read_text())
    dump["learning_rate"] *= 2
    path.write_text(json.dumps(dump))
    with pytest.raises(PlanError, match="changed by hand"):
        read_plan(tmp_path)


def test_the_digest_is_of_meaning(base: Path) -> None:
    assert plan(base).digest == plan(base, ("output_dir", "elsewhere")).digest
    assert plan(base).digest != plan(base, ("seed", 1)).digest


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nan", "write `nano`"),
        ("qwen/Qwen-7B", "HF_HUB_OFFLINE is set"),
        ("src", "without config.json"),
    ],
)
def test_an_unknown_model_says_where_it_was_looked_for(name: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        resolve(read(None, [("model", name)], "sft"))


def test_a_cut_weight_file_is_found_before_anything_runs(tmp_path: Path) -> None:
    folder = tiny_chat_model(tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PlanError, match="cut short"):
        resolve(read(None, [("model", str(folder))], "sft"))


def test_a_model_that_no_engine_speaks_with_cannot_learn_from_its_own_answers(
    tmp_path: Path,
) -> None:
    folder = tiny_chat_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["layer_types"] = ["linear_attention", "full_attention"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlanError, match="cannot draw answers of"):
        resolve(Recipe.model_validate({"model": str(folder), "method": "grpo"}))


def test_a_packed_model_that_draws_says_by_which_weights() -> None:
    recipe = {"model": "nano", "method": "grpo", "quant": {"name": "bnb", "bits": 4}}
    plan = resolve(Recipe.model_validate(recipe))
    assert any("before `quant` packed them" in note for note in plan.notes)
