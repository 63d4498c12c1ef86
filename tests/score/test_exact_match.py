"""What is right, letter by letter or as JSON."""

from __future__ import annotations

import pytest

from swift.core.errors import DataError
from swift.score import scores
from swift.score.exact_match import ExactMatch, same_json


@pytest.mark.parametrize(
    ("answer", "right"),
    [("yes", 1), (" yes\n", 1), ("Yes", 0), ("yes.", 0), ("", 0), ("y es", 0)],
)
def test_text_is_compared_but_for_white_space_around(answer: str, right: float) -> None:
    assert ExactMatch().judge(answer, "yes ") == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"b": 3, "a": [1, true]}', 1),
        ('\n {"a":[1,true],"b":3} ', 1),
        ('{"a": [1, true], "b": 3.0}', 0),
        ('{"a": [1, true], "b": "3"}', 0),
        ('{"a": [true, 1], "b": 3}', 0),
        ('{"a": [1, 1], "b": 3}', 0),
        ('{"a": [1, true], "b": 3, "c": null}', 0),
        ('{"a": [1, true], "b": 4, "b": 3}', 0),
        ('{"a": [1, true], "b": 3} done', 0),
        ("", 0),
        ("[" * 100_000, 0),
        ("9" * 5_000, 0),
    ],
)
def test_json_is_compared_by_value_and_exact_type(answer: str, right: float) -> None:
    assert ExactMatch(normal="json").judge(answer, '{"a": [1, true], "b": 3}') == right


def test_no_number_is_no_json() -> None:
    assert not same_json("NaN", "NaN")
    assert not same_json("1e999", "1e999")
    assert same_json("1e2", "100.0")


def test_a_truth_that_is_no_json_is_the_datas_mistake() -> None:
    with pytest.raises(DataError, match="no JSON: 'three'"):
        ExactMatch(normal="json").judge("3", "three")


def test_the_score_is_found_by_its_name() -> None:
    assert list(scores) == ["exact_match"]
    assert scores.get("exact_match") is ExactMatch
