"""A command line is taken apart into files and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swift.cli.flags import Line, split
from swift.core.errors import RecipeError


def parts(*words: str) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    line = split(words, alone=frozenset({"dry_run"}), many=lambda name: name == "dataset")
    return line.files, line.flags


def test_a_flag_takes_one_word() -> None:
    assert parts("--lr", "1e-4", "r.yaml") == (("r.yaml",), (("lr", "1e-4"),))
    assert parts("r.yaml", "--lr=1e-4") == (("r.yaml",), (("lr", "1e-4"),))
    assert parts("--seed", "-1") == ((), (("seed", "-1"),))


def test_a_list_takes_all_words_up_to_the_next_flag() -> None:
    assert parts("--dataset", "a", "b", "--lr", "1") == (
        (),
        (("dataset", ["a", "b"]), ("lr", "1")),
    )


def test_a_switch_takes_none() -> None:
    assert parts("--dry-run", "r.yaml") == (("r.yaml",), (("dry-run", True),))
    assert parts("--data.shuffle", "--lr", "1") == ((), (("data.shuffle", True), ("lr", "1")))


def test_a_value_may_hold_an_equals_sign_and_dashes() -> None:
    assert parts("--output_dir=--a=b") == ((), (("output_dir", "--a=b"),))


def test_key_equals_value_is_a_flag_unless_it_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b.yaml").touch()
    assert parts("r.yaml", "train.lr=1", "a=b.yaml") == (
        ("r.yaml", "a=b.yaml"),
        (("train.lr", "1"),),
    )


def test_one_dash_is_no_flag() -> None:
    with pytest.raises(RecipeError, match="there is no flag `-lr`\n     fix: flags have two"):
        parts("-lr", "1")


def test_flags_are_picked_by_name_with_either_dash() -> None:
    line = Line(files=("r",), flags=(("dry-run", True), ("lr", "1"), ("dry_run", False)))
    assert line.pick("dry_run") == (False, Line(files=("r",), flags=(("lr", "1"),)))
    assert line.pick("absent") == (None, line)
