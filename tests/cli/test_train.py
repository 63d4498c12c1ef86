"""`swift sft`, `dpo`, `train`: what the words mean, and what is said about them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from swift.cli.main import main
from swift.method import methods
from swift.method.dpo import Dpo
from swift.recipe import Recipe
from swift.recipe.spelling import options
from swift.tuner.full import Full
from swift.tuner.lora import Lora


class Street:
    """Stands where plan and run are, and remembers what came."""

    def __init__(self) -> None:
        self.recipe = Recipe()
        self.launched = 0
        self.resumed: tuple[Path, list[tuple[str, Any]]] | None = None

    def resolve(self, recipe: Recipe) -> Street:
        self.recipe = recipe
        return self

    def describe(self) -> str:
        return "the plan"

    def launch(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.launched += 1

    def resume(self, folder: Path, parallel: list[tuple[str, Any]]) -> None:
        self.resumed = folder, parallel


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Street:
    street = Street()
    plan, launch = ModuleType("swift.plan"), ModuleType("swift.run.launch")
    plan.resolve = street.resolve  # type: ignore[attr-defined]
    launch.launch, launch.resume = street.launch, street.resume  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "swift.plan", plan)
    monkeypatch.setitem(sys.modules, "swift.run.launch", launch)
    monkeypatch.chdir(tmp_path)
    return street


GIVEN = ("--model", "nano", "--dataset", "nano-orders")


def test_a_recipe_and_flags_are_launched(street: Street) -> None:
    Path("r.yaml").write_text("model: nano\ndataset: a\ntrain: {epochs: 2}\n")
    words = ["--train.learning_rate", "1e-4", "--tuner", "{name: lora, rank: 4}"]
    assert main(["sft", "r.yaml", *words]) == 0
    assert street.launched == 1
    assert street.recipe.train.learning_rate == 1e-4
    assert street.recipe.train.epochs == 2
    assert street.recipe.tuner == Lora(rank=4)


def test_another_toolkits_flag_is_followed(street: Street) -> None:
    assert main(["sft", *GIVEN, "--use_lora=False", "--lr", "1e-4"]) == 0
    assert street.recipe.tuner == Full()
    assert street.recipe.train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--dataset", "a", "b"], ["a", "b"]),
        (["--dataset", "a", "--dataset", "b"], ["a", "b"]),
        (["--dataset", "a", "b", "--dataset", "c"], ["a", "b", "c"]),
        (["--dataset=[a, b]"], ["a", "b"]),
        (["--dataset", "a"], ["a"]),
        (["--dataset", "{name: a, format: alpaca}"], ["a"]),
        (["--data_path", "a", "b"], ["a", "b"]),
    ],
)
def test_data_sets_are_listed_or_repeated(
    words: Sequence[str], names: list[str], street: Street
) -> None:
    assert main(["sft", "--model", "nano", *words]) == 0
    assert [d.name for d in street.recipe.dataset] == names


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--targets", "q_proj", "v_proj"], "targets", ("q_proj", "v_proj")),
        (["--targets", "all-linear"], "targets", "all-linear"),
    ],
)
def test_an_option_that_is_a_list_takes_several_words(
    words: list[str], key: str, value: object, street: Street
) -> None:
    assert main(["sft", *GIVEN, *words]) == 0
    assert dict(street.recipe.tuner)[key] == value


def test_a_list_of_one_word_is_a_list(street: Street) -> None:
    assert main(["sft", *GIVEN, "--tuner", "freeze", "--tuner.also", "norm"]) == 0
    assert dict(street.recipe.tuner)["also"] == ("norm",)


def test_a_flag_without_a_value_is_true(street: Street) -> None:
    assert main(["sft", *GIVEN, "--all_tokens", "--data.shuffle=false"]) == 0
    assert street.recipe.method.supervise == "all"
    assert street.recipe.data.shuffle is False


def test_the_verb_is_the_method(street: Street) -> None:
    assert main(["dpo", *GIVEN]) == 0
    assert street.recipe.method == Dpo()


def test_a_missing_model_and_data_set_are_said_aloud(
    street: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sft"]) == 0
    assert capsys.readouterr().err == (
        "no model given, so `nano` is used; no dataset given, so `nano-orders` is used\n"
    )
    assert main(["sft", *GIVEN]) == 0
    assert capsys.readouterr().err == ""


def test_a_dry_run_prints_the_plan_and_does_nothing(
    street: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sft", "--dry-run", *GIVEN]) == 0
    assert capsys.readouterr().out == "the plan\n"
    assert street.launched == 0


def test_a_run_is_resumed_by_its_folder(street: Street) -> None:
    Path("runs/x").mkdir(parents=True)
    assert main(["train", "--resume", "runs/x"]) == 0
    assert street.resumed == (Path("runs/x"), [])


@pytest.mark.parametrize("flag", ["nproc_per_node", "parallel.nproc_per_node", "nproc-per-node"])
def test_a_run_is_resumed_on_other_processes(street: Street, flag: str) -> None:
    Path("runs/x").mkdir(parents=True)
    assert main(["train", "--resume", "runs/x", f"--{flag}", "1"]) == 0
    assert street.resumed == (Path("runs/x"), [(flag, "1")])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume", "runs/x"], "there is no folder `runs/x`"),
        (["--resume"], "`--resume` names no run"),
        (["--resume", "runs/x", "--lr", "1"], "it takes no --lr"),
        (["absent.yaml"], "there is no file `absent.yaml`"),
        (["a.yaml", "b.yaml"], "one recipe at a time, not 2"),
        (["--rank", "0"], "--rank: `tuner.rank` is `0`"),
        (["--tuner", "{name: lora"], "--tuner: this is not YAML"),
        (["--dataset", "[a"], "--dataset: this is not YAML"),
        (["--plugins", "x"], "there is no plug-in `x`"),
        (["."], "is a folder, not a YAML file"),
    ],
)
def test_words_that_cannot_be_followed_are_a_problem(
    words: list[str], says: str, street: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sft", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert street.launched == 0
    assert street.resumed is None


@pytest.mark.parametrize("verb", ["train", *methods])
def test_help_lists_every_option_with_type_and_default(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    page = capsys.readouterr().out
    for key in Recipe.model_fields:
        for member, cls in options(key):
            if key == "method" and verb not in ("train", member):
                continue
            assert all(f"\n  --{key}.{field}  " in page for field in cls.model_fields)
    assert "--train.max_steps  int|null = null\n      Optimiser steps of the whole run" in page
    named = "|".join(methods)
    assert f"--method  {named} = {'sft' if verb == 'train' else verb}\n" in page


def test_help_of_one_method_is_silent_about_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sft", "-h"]) == 0
    assert "--method.beta" not in capsys.readouterr().out
