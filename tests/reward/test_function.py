"""A function of the user's own as a reward."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import UserError
from swift.reward import Answer
from swift.reward.function import Function
from swift.reward.together import judged
from tests.reward.asking import answer

MINE = """
def brevity(answers):
    return [-len(answer.text) for answer in answers]

async def later(answers):
    return [1.0 for _ in answers]

def by_trl(prompts, completions, solution, level, **rest):
    assert prompts[0] == [{"role": "user", "content": "Q"}], prompts
    assert sorted(rest) == ["completion_ids", "topic"]
    return [float(c[0]["content"] == s) * n for c, s, n in zip(completions, solution, level)]

def breaks(answers):
    return [1 / len(answer.columns) for answer in answers]

def calls(answers):
    return breaks(answers)

def wants(completions, difficulty):
    return [0.0] * len(completions)

def strange(one, other):
    return []

number = 5
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def line_of(text: str) -> int:
    return MINE.split("\n").index(text) + 1


def test_a_file_and_a_function_are_enough(mine: Path) -> None:
    said = judged([Function(path="./mine.py:brevity", weight=2)], [answer("abc"), answer("")])
    assert said.names == ("brevity",)
    assert said.total == (-6, 0)


def test_a_function_may_be_async(mine: Path) -> None:
    assert judged([Function(path="mine.py:later")], [answer("abc")]).total == (1,)


def test_trls_signature_gets_the_columns(mine: Path) -> None:
    rows = [
        answer("4", solution="4", columns={"level": 3, "topic": "sums"}),
        answer("5", solution="4", columns={"level": 2}),
    ]
    assert judged([Function(path="./mine.py:by_trl")], rows).total == (3, 0)


def test_a_column_that_rows_lack_is_named(mine: Path) -> None:
    with pytest.raises(UserError, match="wants `difficulty`, which the rows have no column of"):
        judged([Function(path="./mine.py:wants")], [answer("4", columns={"level": 3})])


@pytest.mark.parametrize("name", ["breaks", "calls"])
def test_what_raises_names_file_and_line(mine: Path, name: str) -> None:
    with pytest.raises(UserError) as error:
        judged([Function(path=f"./mine.py:{name}")], [answer("4")])
    (problem,) = error.value.problems
    line = line_of("    return [1 / len(answer.columns) for answer in answers]")
    assert problem.where == f"{os.path.realpath(mine)}:{line}"
    assert problem.what == f"the reward `{name}` raised ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("./mine.py:bravity", "it has no `bravity`"),
        ("./mime.py:brevity", "there is no plug-in `./mime.py`"),
        ("./mine.py:number", "is int, no function"),
        ("./mine.py:strange", r"takes \(one, other\)"),
        ("no_such_module:f", "there is no plug-in `no_such_module`"),
    ],
)
def test_what_is_wrong_is_known_before_a_run(mine: Path, path: str, says: str) -> None:
    (problem,) = Function(path=path).problems()
    with pytest.raises(UserError, match=says):
        raise UserError(problem)
    with pytest.raises(UserError, match=says):
        judged([Function(path=path)], [answer("4")])


def test_a_function_that_is_right_has_no_problem(mine: Path) -> None:
    assert not Function(path="./mine.py:brevity").problems()
    assert not Function(path="./mine.py:by_trl").problems()


def test_a_file_that_does_not_read_names_its_line(mine: Path) -> None:
    mine.with_name("bad.py").write_text("x = 1\ndef f(:\n")
    (problem,) = Function(path="./bad.py:f").problems()
    assert problem.where.endswith("bad.py:2")


def test_live_functions_and_objects_are_rewards_too() -> None:
    class Long:
        def __call__(self, completions: Sequence[Any], **columns: Any) -> list[int]:
            return [len(c[0]["content"]) for c in completions]

    def exits(answers: Sequence[Answer]) -> list[float]:
        raise SystemExit(3)

    assert judged([Function.of(Long())], [answer("abc")]).total == (3,)
    with pytest.raises(UserError, match="exits"):
        judged([Function.of(exits)], [answer("abc")])


def test_what_has_no_signature_is_no_reward() -> None:
    with pytest.raises(UserError, match="no signature found"):
        judged([Function.of(dict)], [answer("a")])
