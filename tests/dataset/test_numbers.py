"""The questions inside the package: what a right answer is, and that no split knows the other's."""

from __future__ import annotations

import re
from typing import Any

import pytest

from swift.dataset.formats import to_samples
from swift.dataset.generated import samples
from swift.dataset.sources import find, rows
from swift.method import Method
from swift.recipe.recipe import default_dataset

SPLITS = {"train": 1000, "validation": 200}


class Draws(Method):
    """Stands for any method whose answers are drawn."""

    wants = "prompts"


def refused(name: str, origin: str) -> None:
    raise AssertionError(f"{origin}: {name}")


def numbers(row: dict[str, Any]) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", row["messages"][0]["content"])]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", range(5))
def test_the_solution_is_the_largest_of_six_numbers_of_two_digits(split: str, seed: int) -> None:
    for row in samples("numbers", split, seed):
        asked = numbers(row)
        assert len(set(asked)) == 6
        assert all(10 <= n < 100 for n in asked)
        assert row["solution"] == str(max(asked))


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_a_prompt_with_its_solution(split: str) -> None:
    raws = list(rows(find("nano-numbers"), split=split, seed=1))
    found = list(to_samples(raws, wants="prompts", on_reject=refused))
    assert len(found) == SPLITS[split]
    for sample in found:
        assert [turn.role for turn in sample.chosen] == ["user"]
        assert sample.solution.isdecimal()


@pytest.mark.parametrize("split", SPLITS)
def test_both_languages_are_about_as_common(split: str) -> None:
    english = sum(row["messages"][0]["content"].isascii() for row in samples("numbers", split, 1))
    assert 0.4 < english / SPLITS[split] < 0.6


def test_the_largest_stands_anywhere() -> None:
    places = [numbers(row).index(int(row["solution"])) for row in samples("numbers", "train", 1)]
    assert min(places.count(place) for place in range(6)) > 120


def test_no_six_numbers_are_in_both_splits_in_any_order() -> None:
    held = {
        frozenset(numbers(r)) for seed in range(5) for r in samples("numbers", "validation", seed)
    }
    for seed in range(5):
        assert not held & {frozenset(numbers(row)) for row in samples("numbers", "train", seed)}


def test_rows_follow_from_the_seed() -> None:
    def said(seed: int) -> list[object]:
        return list(samples("numbers", "train", seed))

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_a_method_that_draws_answers_gets_them_where_no_data_set_is_named() -> None:
    assert default_dataset(Draws) == "nano-numbers"
