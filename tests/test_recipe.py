"""A recipe is read exactly, and everything that is wrong with it is said at once."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from swift.core.errors import RecipeError
from swift.core.schema import Value
from swift.engine.server import Server
from swift.method.dpo import Dpo
from swift.recipe import Data, Dataset, Model, Recipe, Train, read
from swift.recipe import spelling as spelling_module
from swift.recipe.absent import wished
from swift.recipe.recipe import REGISTRIES
from swift.recipe.spelling import meaning
from swift.tuner.full import Full
from swift.tuner.lora import Lora

Write = Callable[[str], Path]

TWELVE = """\
modle: nano
model:
  id: nano
  dtype: float31
dataset:
- nano-orders
- {nam: mine.jsonl}
data: {max_length: 0}
tuner:
  name: lora
  rnak: 8
  alpha: x
method: dop
train:
  epochs: 3
  epochs: 4
  batch_size: 7
  micro_batch_size: 2
  gradient_accumulation_steps: 2
  num_train_epochs: 1
optimizer: {betas: [0.9]}
parallel: {strategy: zero}
"""

NAMED = [
    ("1 modle", "write `model`"),
    ("4 model.dtype", "give `auto`, `float32`, `bfloat16` or `float16`"),
    ("7 dataset[1].nam", "write `name`"),
    ("8 data.max_length", "give a whole number of at least 2"),
    ("11 tuner.rnak", "write `rank`"),
    ("12 tuner.alpha", "give a number above 0"),
    ("13 method", "write `dpo`"),
    ("16 train.epochs", "keep one of them"),
    ("17 train.batch_size", "say two of the three; the third follows"),
    ("20 train.num_train_epochs", "write `epochs`"),
    ("21 optimizer.betas", "give a list of 2, each a number"),
    ("22 parallel.strategy", "give `auto`, `none`, `ddp` or `fsdp`"),
]

CLEAN = [
    "{}",
    "model: nano",
    "model: ./folder/of a model",
    "model: {id: nano, dtype: bfloat16, attention: eager, template: ./chat.jinja}",
    "dataset: nano-orders",
    "dataset: [a.jsonl, 'b#500']",
    "dataset: {name: a.csv, format: alpaca, columns: {q: instruction, a: output}}",
    "dataset:\n- a.jsonl\n- name: b.parquet",
    "data: {max_length: 512, shuffle: false, bucket: false, on_long: drop, validation: 0.01}",
    "data: {validation: held-out.jsonl}",
    "task: text\nmethod: {name: sft, loss_on: all}",
    "task: dpo",
    "method: {name: dpo, beta: 0.05, reference: model}\ntuner: full",
    "tuner: {name: lora, rank: 16, alpha: 64, dropout: 0.05, targets: [q_proj, v_proj]}",
    "tuner: {rank: 4}",
    "tuner: {name: freeze, layers: 1}\noptimizer: {name: adamw, weight_decay: 0.1}",
    "train: {max_steps: 20, learning_rate: 1e-4, warmup: 5, schedule: linear, max_grad_norm: null}",
    "train: {batch_size: 16, micro_batch_size: 4, gradient_accumulation_steps: 2, epochs: 0.5}",
    "parallel: ddp\noutput_dir: runs/a",
    "parallel: {tensor_model_parallel_size: 2, nproc_per_node: 4}",
    "num_train_epochs: 2\nlearning_rate: 1e-4\nlora_rank: 4\nmodel_name_or_path: nano",
]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write `recipe.yaml` into an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        Path("recipe.yaml").write_text(text, encoding="utf-8")
        return Path("recipe.yaml")

    return to_file


def problems(path: Path | None, *flags: tuple[str, Any], verb: str | None = None) -> list[str]:
    """Return "where: what -> fix" of each problem."""
    with pytest.raises(RecipeError) as caught:
        read(path, flags, verb)
    return [f"{p.where}: {p.what} -> {p.fix}" for p in caught.value.problems]


def test_twelve_mistakes_are_all_named_with_their_lines(write: Write) -> None:
    with pytest.raises(RecipeError) as caught:
        read(write(TWELVE))
    said = [(p.where, p.fix) for p in caught.value.problems]
    assert said == [(f"recipe.yaml:{place}", fix) for place, fix in NAMED]
    assert str(caught.value).startswith("the recipe has 12 problems\n  1. recipe.yaml:1 modle: ")


@pytest.mark.parametrize("text", CLEAN)
def test_a_clean_recipe_is_read_without_a_word(
    text: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(read(write(text)), Recipe)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", CLEAN)
def test_what_was_said_is_dumped_and_read_back(text: str, write: Write) -> None:
    recipe = read(write(text))
    again = read(write(recipe.dump()))
    assert again == recipe
    assert again.dump() == recipe.dump()


@pytest.mark.parametrize("text", CLEAN)
def test_the_full_form_is_json_and_parses_back(text: str, write: Write) -> None:
    recipe = read(write(text))
    assert Recipe.model_validate(json.loads(json.dumps(recipe.full()))) == recipe


def test_a_recipe_inside_another_value_parses_back() -> None:
    class Holder(Value):
        """Holds a recipe, as a plan does."""

        recipe: Recipe

    holder = Holder(recipe=read(None, [("tuner", "{name: lora, rank: 3}"), ("method", "dpo")]))
    dumped = holder.model_dump(mode="json")
    assert dumped["recipe"]["tuner"]["rank"] == 3
    assert Holder.model_validate(json.loads(json.dumps(dumped))) == holder


def test_only_what_was_said_is_dumped(write: Write) -> None:
    text = "model: nano\ntuner: lora\ntrain:\n  learning_rate: 0.0001\n"
    assert read(write(text)).dump() == text
    assert read(None).dump() == "{}\n"


def test_a_section_is_a_word_or_a_map() -> None:
    assert Recipe(tuner="lora") == Recipe(tuner={"name": "lora"}) == Recipe(tuner=Lora())
    assert Recipe(model="a", dataset="b").dataset == (Dataset(name="b"),)
    with pytest.raises(ValidationError):
        Recipe(tuner={"name": "lora", "rnak": 1})


def test_a_flag_wins_over_the_file(write: Write) -> None:
    path = write("tuner: {name: lora, rank: 8, alpha: 16}\ntrain: {epochs: 2}")
    recipe = read(path, [("tuner.rank", "4"), ("lr", "1e-4"), ("epochs", "1"), ("epochs", "5")])
    assert recipe.tuner == Lora(rank=4, alpha=16)
    assert recipe.train == Train(epochs=5, learning_rate=1e-4)


def test_another_member_drops_the_options_of_the_old_one(write: Write) -> None:
    path = write("tuner: {name: lora, rank: 4}")
    assert read(path, [("tuner", "full")]).tuner == Full()
    assert read(path, [("tuner", "lora")]).tuner == Lora(rank=4)
    assert read(path, [("lora_rank", "2"), ("tuner", "{name: lora, alpha: 1}")]).tuner == Lora(
        rank=2, alpha=1
    )


def test_a_flag_for_max_steps_takes_the_place_of_the_files_epochs(write: Write) -> None:
    train = read(write("train: {epochs: 2}"), [("max_steps", "5")]).train
    assert (train.max_steps, train.model_fields_set) == (5, {"max_steps"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.learning_rate", 1e-3),
        ("learning_rate", 1e-3),
        ("learning-rate", 1e-3),
        ("lr", 1e-3),
    ],
)
def test_a_key_has_a_path_a_last_word_and_spellings(name: str, value: float) -> None:
    assert read(None, [(name, value)]).train.learning_rate == value


@pytest.mark.parametrize(
    ("name", "said", "key", "meant"),
    [
        ("use_lora", "true", "tuner", Lora()),
        ("use_lora", "False", "tuner", Full()),
        ("finetuning_type", "full", "tuner", Full()),
        ("lora_target", "all", "tuner", Lora(targets="all-linear")),
        ("lora_target", "q_proj, v_proj", "tuner", Lora(targets=("q_proj", "v_proj"))),
        ("bf16", "true", "model", Model(dtype="bfloat16")),
        ("bf16", "false", "model", Model()),
        ("cutoff_len", "64", "data", Data(max_length=64)),
        ("truncation_strategy", "delete", "data", Data(on_long="drop")),
        ("save_total_limit", "1", "train", Train(keep=1)),
        ("lr_scheduler_type", "constant_with_warmup", "train", Train(schedule="constant")),
        ("rlhf_type", "dpo", "method", Dpo()),
        ("vllm_mode", "server", "engine", Server()),
    ],
)
def test_other_toolkits_spellings_are_understood(
    name: str, said: str, key: str, meant: object
) -> None:
    assert dict(read(None, [(name, said)]))[key] == meant


def test_every_spelling_leads_to_a_key_that_exists() -> None:
    table = Path(spelling_module.__file__).with_name("spelling.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["spelling"] for r in rows] == sorted(r["spelling"] for r in rows)
    known = set(Recipe.model_fields)
    for key in Recipe.model_fields:
        known |= {f"{key}.{f}" for _, cls in spelling_module.options(key) for f in cls.model_fields}
    assert {r["key"] for r in rows} - {"", "!"} <= known
    assert not {r["spelling"] for r in rows} & set(Recipe.model_fields)


def test_a_spelling_says_which_values_it_takes(write: Write) -> None:
    assert problems(write("use_lora: maybe")) == [
        "recipe.yaml:1 use_lora: `use_lora` is `maybe` -> it takes `true` or `false`"
    ]


def test_a_key_and_its_spelling_contradict_in_one_file(write: Write) -> None:
    (said,) = problems(write("train: {epochs: 2}\nnum_train_epochs: 3"))
    assert said == (
        "recipe.yaml:2 num_train_epochs: `train.epochs` is said twice, first at "
        "recipe.yaml:1 train.epochs -> keep one of them"
    )


def test_a_flags_problem_is_placed_at_the_flag(write: Write) -> None:
    path = write("tuner: {rank: 8}")
    assert problems(path, ("rank", "0"), ("fooo", "1"), ("tuner.rnak", "1"), ("data", "[1")) == [
        "--data: this is not YAML: expected ',' or ']', but got '<stream end>' "
        "while parsing a flow sequence -> ",
        "--fooo: a recipe has no key `fooo` -> known: "
        + ", ".join(f"`{k}`" for k in sorted(Recipe.model_fields)),
        "--rank: `tuner.rank` is `0` -> give a whole number of at least 1",
        "--tuner.rnak: `tuner` (lora) has no key `rnak` -> write `rank`",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tuner: lroa", "there is no tuner `lroa` -> write `lora`"),
        ("tuner: 3", "`tuner` is `3`, not a name -> one of `freeze`, `full`, `lora`"),
        ("tuner: {name: full, rank: 8}", "no key `rank` -> `rank` is an option of lora"),
        ("tuner: {name: full, x: 8}", "no key `x` -> `full` has no options"),
        ("train: 3", "`train` is `3`, not a map"),
        ("train: {max_length: 3}", "`train` has no key `max_length` -> write `data.max_length`"),
        ("train: {epochs: true}", "`train.epochs` is `true` -> give a number above 0"),
        ("train: {seed: '1'}", "`train.seed` is `1` -> give a whole number of at least 0"),
        ("train: {warmup: 1.5}", "give a share below 1, or a whole number of steps"),
        ("train: {max_grad_norm: .inf}", "give a number above 0 or null"),
        ("dataset: []", "`dataset` is an empty list"),
        ("dataset: {format: alpaca}", "`dataset` lacks `name`"),
        ("dataset: [{name: a, columns: {q: 1}}]", "`dataset[0].columns` is `{q: 1}` -> give a map"),
        ("learnig_rate: 1", "no key `learnig_rate` -> write `learning_rate`"),
        ("plugins: x", "there is no plug-in `x`"),
        ("task: vqq", "`task` is `vqq`"),
        ("model: ''", '`model.id` is `""` -> give text'),
    ],
)
def test_a_mistake_names_its_repair(text: str, said: str, write: Write) -> None:
    (problem,) = problems(write(text))
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "train: {batch_size: 8, micro_batch_size: 3, gradient_accumulation_steps: 2}",
            "batch_size 8 is no multiple of micro_batch_size 3 times gradient_accumulation_steps 2",
        ),
        ("train: {epochs: 1, max_steps: 5}", "both max_steps 5 and epochs 1"),
        ("method: {name: dpo, reference: adapters_off}\ntuner: full", "has no adapters"),
        ("method: dpo\ntask: text", "`dpo` compares two answers"),
        ("parallel: {strategy: none, nproc_per_node: 2}", "is one process"),
        ("parallel: {strategy: none, tensor_model_parallel_size: 2}", "is one process"),
        ("parallel: {tensor_model_parallel_size: 4, nproc_per_node: 6}", "does not divide"),
    ],
)
def test_what_cannot_be_together_is_a_problem(text: str, said: str, write: Write) -> None:
    (problem,) = problems(write(text))
    assert said in problem
    assert re.match(r"recipe\.yaml:[12] (train|method|task|parallel)", problem)


def test_a_broken_rule_is_told_beside_the_other_mistakes(write: Write) -> None:
    said = problems(write("tuner: {rank: 0}\ntrain: {epochs: 1, max_steps: 5, seed: x}"))
    assert [p.split(":")[1] for p in said] == ["1 tuner.rank", "2 train.seed", "2 train.max_steps"]


def test_the_verb_is_the_method(write: Write) -> None:
    assert read(None, verb="dpo").method == Dpo()
    assert read(write("method: {beta: 0.2}"), verb="dpo").method == Dpo(beta=0.2)
    assert read(write("method: dpo"), verb="train").method == Dpo()
    assert read(None, verb="train").method.name == REGISTRIES["method"][1] == "sft"


def test_a_verb_that_contradicts_the_file_is_a_problem(write: Write) -> None:
    assert problems(write("method: dpo"), verb="sft") == [
        "recipe.yaml:1 method: the verb is `sft`, but the recipe says `method: dpo` -> "
        "run `swift dpo`, or leave `method` out"
    ]


def test_a_task_may_name_a_method(write: Write) -> None:
    recipe = read(write("task: dpo"))
    assert (recipe.task, recipe.method) == ("chat", Dpo())
    (said,) = problems(write("task: dpo\nmethod: sft"))
    assert "`task: dpo` means `method: dpo`, but the method is `sft`" in said


def test_a_missing_file_is_a_problem() -> None:
    (said,) = problems(Path("absent.yaml"))
    assert "there is no file `absent.yaml`" in said


def test_the_defaults_are_the_embedded_model_and_task() -> None:
    recipe = read(None)
    assert recipe == Recipe()
    assert (recipe.model.id, [d.name for d in recipe.dataset]) == ("nano", ["nano-orders"])
    assert not recipe.model_fields_set


def test_an_unknown_name_means_nothing() -> None:
    assert meaning("nobody", 1) is None
    assert meaning("do_train", True) == ((), None)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from([*Recipe.model_fields, "lr", "zzz"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-3, 9)
            | st.floats()
            | st.sampled_from(["auto", "lora"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["name", "rank", "id", "epochs", "q"]), inner, max_size=3
                )
            ),
            max_leaves=5,
        ),
    )
)
def test_whatever_is_said_the_answer_is_a_recipe_or_its_problems(said: dict[str, Any]) -> None:
    try:
        recipe = read(None, list(said.items()))
    except RecipeError as error:
        assert all(problem.where for problem in error.problems)
    else:
        assert Recipe.model_validate(recipe.full()) == recipe


def test_what_nobody_names_is_read_beside_or_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a recipe of another method is none of this verb's business."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("model: ./mine\nmethod: sft\n")
    said: list[str] = []
    recipe = wished(None, [("dataset", "a.jsonl")], "sft", said.append)
    assert (recipe.model.id, said) == ("./mine", ["no model given, so ./recipe.yaml is read"])
    said.clear()
    recipe = wished(None, [("dataset", "a.jsonl")], "dpo", said.append)
    assert (recipe.model.id, said) == ("nano", ["no model given, so `nano` is used"])
    said.clear()
    wished(None, [("model", "x"), ("dataset", "a.jsonl")], "sft", said.append)
    assert said == []


def test_other_toolkits_flags_that_change_nothing_are_passed_over() -> None:
    read(None, [("logging_steps", "10"), ("report_to", "none"), ("packing", "false")])


def test_what_is_not_there_says_what_to_do_instead() -> None:
    with pytest.raises(RecipeError) as found:
        read(None, [("deepspeed", "zero2"), ("max_samples", "10"), ("report_to", "wandb")])
    fixes = [p.fix for p in found.value.problems]
    assert "fsdp" in fixes[0] and "#500" in fixes[1] and "events.jsonl" in fixes[2]


def test_a_word_of_two_sections_names_both() -> None:
    assert spelling_module.closest("dtype") == "write `model.dtype` or `engine.dtype`"
    assert read(None, [("dtype", "float16")]).model.dtype == "float16"


def test_a_folder_of_pictures_is_the_data_set_where_none_is_named(write: Write) -> None:
    recipe = read(write("task: VisionQA\ndata: {image_folder: photos}"))
    assert (recipe.task, [d.name for d in recipe.dataset]) == ("vqa", ["photos"])
    recipe = read(write("dataset: a.jsonl\ndata: {image_folder: photos}"))
    assert [d.name for d in recipe.dataset] == ["a.jsonl"]
