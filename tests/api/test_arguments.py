"""What is given wrongly at a Python door is refused in words, before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swift import Swift, prepare_model, train
from swift.core.errors import SwiftError, UserError

ODD: list[Any] = [3, 2.5, True, b"x", ["a"], {"a": 1}, object(), torch.zeros(2), print]
NO_PATHS = ["a\0b", "\ud800"]
ROWS = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("given", [*ODD, *NO_PATHS], ids=lambda v: type(v).__name__)
def test_what_is_no_path_opens_nothing(given: Any) -> None:
    for door in (
        lambda: prepare_model(given),
        lambda: Swift.from_pretrained(nn.Linear(2, 2), given),
        lambda: train("nano", ROWS, recipe=given),
    ):
        with pytest.raises(UserError, match="it takes"):
            door()


@pytest.mark.parametrize(
    "given", [g for g in ODD if not isinstance(g, dict)], ids=lambda v: type(v).__name__
)
def test_options_of_data_are_a_map(given: Any) -> None:
    with pytest.raises(UserError, match=r"data_args: a value of type .* is none"):
        train("nano", ROWS, data_args=given)


@pytest.mark.parametrize("door", ["model", "dataset", "output_dir", "ref_model", "eval_dataset"])
@pytest.mark.parametrize("given", [b"x", object(), *NO_PATHS], ids=lambda v: type(v).__name__)
def test_no_argument_of_train_ends_in_another_error(door: str, given: Any) -> None:
    good: dict[str, Any] = {"model": "nano", "dataset": ROWS, "max_steps": 1}
    with pytest.raises(SwiftError):
        train(**{**good, door: given})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UserError) as caught:
        prepare_model(3, revision=4, trust_remote_code="yes", dtype="float31")  # type: ignore[arg-type]
    named = [problem.where for problem in caught.value.problems]
    assert named == ["model", "revision", "trust_remote_code", "dtype"]


@pytest.mark.parametrize("dtype", ["float32", torch.bfloat16, "auto", None])
def test_a_type_by_itself_or_by_its_name_is_taken(dtype: Any) -> None:
    model, _ = prepare_model("nano", dtype=dtype)
    assert next(model.parameters()).is_floating_point()
