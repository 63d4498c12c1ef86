"""The pairs inside the package: what is right, what is wrong with the other, what runs on them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from swift.cli.main import main
from swift.core.events import read_events
from swift.dataset.formats import formats, to_samples
from swift.dataset.generated import samples
from swift.dataset.generated.orders import KEYS
from swift.dataset.sources import find, rows
from swift.recipe import Recipe, read
from swift.score.exact_match import same_json

SPLITS = ("train", "validation")


def refused(name: str, origin: str) -> None:
    raise AssertionError(f"{origin}: {name}")


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_a_pair_in_a_format_that_is_recognised(split: str) -> None:
    raws = list(rows(find("nano-preferences"), split=split, seed=1))
    assert next(f.name for f in formats if f.fits(raws[0].row or {})) == "preference"
    pairs = list(to_samples(raws, wants="pairs", on_reject=refused))
    assert len(pairs) == {"train": 1000, "validation": 200}[split]
    for pair in pairs:
        assert [m.role for m in pair.chosen] == ["user", "assistant"]
        assert pair.chosen[:-1] == pair.rejected[:-1]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", range(5))
def test_the_rejected_answer_is_json_with_one_mistake(split: str, seed: int) -> None:
    for row in samples("preferences", split, seed):
        right, wrong = json.loads(row["chosen"]), json.loads(row["rejected"])
        assert tuple(right) == KEYS
        assert all(str(value) in row["prompt"] for value in right.values())
        assert not same_json(row["rejected"], row["chosen"])
        differing = [key for key in KEYS if wrong.get(key) != right[key]]
        swapped = len(differing) == 2 and sorted(right.values(), key=str) == sorted(
            wrong.values(), key=str
        )
        assert len(differing) == 1 or swapped


def test_each_mistake_is_common() -> None:
    kinds: Counter[str] = Counter()
    for row in samples("preferences", "train", 1):
        right, wrong = json.loads(row["chosen"]), json.loads(row["rejected"])
        shape = "missing" if len(wrong) < 4 else "key" if wrong.keys() - right.keys() else "value"
        kinds[shape if shape != "value" or wrong["price"] == right["price"] else "price"] += 1
    assert set(kinds) == {"missing", "key", "value", "price"}
    assert min(kinds.values()) > 200


def test_no_order_is_in_both_splits() -> None:
    def orders(split: str, seed: int) -> set[tuple[str, ...]]:
        answers = (json.loads(row["chosen"]) for row in samples("preferences", split, seed))
        return {tuple(answer[key] for key in KEYS[:3]) for answer in answers}

    held = orders("validation", 1)
    assert not any(held & orders("train", seed) for seed in range(1, 6))


def test_rows_follow_from_the_seed() -> None:
    def said(seed: int) -> list[object]:
        return list(samples("preferences", "train", seed))

    assert said(1) == said(1)
    assert said(1) != said(2)


@pytest.mark.parametrize(("verb", "name"), [("sft", "nano-orders"), ("dpo", "nano-preferences")])
def test_without_a_data_set_a_method_gets_rows_of_its_shape(verb: str, name: str) -> None:
    recipe = read(None, verb=verb)
    assert [d.name for d in recipe.dataset] == [name]
    assert recipe.dump() == f"method: {verb}\n"
    assert Recipe.model_validate(recipe.full()) == recipe


def test_a_data_set_that_is_named_stays() -> None:
    assert [d.name for d in read(None, [("dataset", "mine")], "dpo").dataset] == ["mine"]


def test_dpo_without_data_runs_and_says_what_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dpo", "--model", "nano", "--max_steps", "2", "--output_dir", "run"]) == 0
    assert "no dataset given, so `nano-preferences` is used" in capsys.readouterr().err
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    steps = [event for event in events if event["event"] == "step"]
    assert [step["step"] for step in steps] == [1, 2]
    assert all("rewards/margins" in step for step in steps)
