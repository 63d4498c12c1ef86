"""What an answer comes to, and whether that is right."""

from __future__ import annotations

import asyncio
import csv
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.reward import Answer
from swift.reward._algebra import proved
from swift.reward._equal import equal
from swift.reward._final import marked
from swift.reward._value import value
from swift.reward.accuracy import Accuracy


def rows() -> list[tuple[str, str, bool]]:
    path = Path(__file__).with_name("answers.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["said"], row["truth"], row["right"] == "1") for row in csv.DictReader(file)]


def judged(reward: Accuracy, text: str, solution: str, finish: str = "stop") -> float | None:
    answer = Answer(prompt=(), text=text, solution=solution, finish=finish)
    (value,) = asyncio.run(reward.judge([answer]))
    return value


OWN = Accuracy(algebra="none")


def test_the_table_is_not_cut() -> None:
    assert len(rows()) >= 90
    assert {right for _, _, right in rows()} == {True, False}


@pytest.mark.parametrize(("said", "truth", "right"), rows())
def test_right_is_what_means_the_same(said: str, truth: str, right: bool) -> None:
    assert judged(OWN, f"I think \\boxed{{8}}, no: \\boxed{{{said}}}", truth) == float(right)


@pytest.mark.parametrize(
    ("text", "comes_to"),
    [
        (r"\boxed{1} then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"{ \boxed{5}", "5"),
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{3} and \boxed{4", "3"),
        (r"\fbox{9}", "9"),
        (r"so \boxed 5.", "5"),
        ("<answer> 7 </answer>", "7"),
        (r"<answer>it is \boxed{8}</answer>", "8"),
        (r"\boxed{8} <answer>7</answer>", "7"),
        ("<answer>7", None),
        ("x\n#### 42\nbye", "42"),
        ("#### 1\n#### 2", "2"),
        ("####", None),
        ("nothing", None),
    ],
)
def test_the_mark_that_begins_last_counts(text: str, comes_to: str | None) -> None:
    assert marked(text) == comes_to


def test_a_solution_may_be_worked_out_as_in_gsm8k() -> None:
    assert judged(OWN, r"\boxed{72}", "48/2 = 24, 48+24 = 72\n#### 72") == 1
    assert judged(OWN, r"\boxed{24}", "48/2 = 24, 48+24 = 72\n#### 72") == 0


def test_a_row_without_a_solution_is_not_judged() -> None:
    assert judged(OWN, r"\boxed{72}", "") is None
    assert judged(OWN, r"\boxed{72}", " \n") is None


def test_what_is_thought_is_no_answer() -> None:
    assert judged(OWN, r"<think>\boxed{5}</think>\boxed{6}", "6") == 1
    assert judged(OWN, r"<think>\boxed{6}</think>\boxed{5}", "6") == 0
    assert judged(OWN, r"<think>so \boxed{6}", "6") == 0
    assert judged(Accuracy(opened=True, algebra="none"), r"so \boxed{6}", "6") == 0
    assert judged(Accuracy(opened=True, algebra="none"), r"so</think>\boxed{6}", "6") == 1


@pytest.mark.parametrize(
    ("unmarked", "text", "right"),
    [
        ("whole", " 6. ", 1),
        ("whole", "It is 6", 0),
        ("last_number", "5 and 1 make 6, I say", 1),
        ("last_number", "6 is more than 5", 0),
        ("last_number", "none", 0),
        ("wrong", "6", 0),
        ("wrong", r"\boxed{6}", 1),
    ],
)
def test_an_answer_without_a_mark(unmarked: str, text: str, right: float) -> None:
    reward = Accuracy.model_validate({"unmarked": unmarked, "algebra": "none"})
    assert judged(reward, text, "6") == right


def test_a_tolerance_is_a_share_of_the_right_number() -> None:
    near = Accuracy(tolerance=0.01, algebra="none")
    assert judged(near, r"\boxed{101}", "100") == 1
    assert judged(near, r"\boxed{101.5}", "100") == 0
    assert judged(OWN, r"\boxed{100.0000001}", "100") == 0


def test_only_algebra_is_left_open() -> None:
    assert equal("x+1", "1+x") is None
    assert equal("6", "7") is False
    assert equal("Paris", "London") is False


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("1/3", Fraction(1, 3)),
        ("-2^2", Fraction(-4)),
        ("2^-1", Fraction(1, 2)),
        ("1 2", None),
        ("1/2/2", Fraction(1, 4)),
        (r"\sqrt{\frac{4}{9}}", Fraction(2, 3)),
        ("2pi", 2 * math.pi),
        ("--1", Fraction(1)),
        (r"\frac{1}{0}", None),
        ("9" * 300, None),
        ("(" * 100 + "1" + ")" * 100, None),
    ],
)
def test_an_expression_is_worth(text: str, worth: float | Fraction | None) -> None:
    assert value(text) == worth


def test_math_verify_is_asked_where_it_is_installed() -> None:
    pytest.importorskip("math_verify")
    assert judged(Accuracy(), r"\boxed{(x+1)^2}", "x^2+2x+1") == 1
    assert judged(Accuracy(), r"\boxed{x}", "2x") == 0


def test_sums_that_never_end_are_wrong_and_the_next_is_judged() -> None:
    pytest.importorskip("math_verify")
    endless = ("10^{10^{10^{10}}}", "10^{10}x")
    assert asyncio.run(proved([endless, ("1+x", "x+1")], 3.0)) == [False, True]


def test_it_is_said_who_compares() -> None:
    (note,) = OWN.notes()
    assert "only as they are written" in note


def test_math_verify_asked_by_name_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swift.reward.accuracy.find_spec", lambda name: None)
    (problem,) = Accuracy(algebra="math-verify").problems()
    assert "swift-llm[math]" in problem.fix
    assert not Accuracy().problems()
    assert judged(Accuracy(), r"\boxed{x+1}", "1+x") == 0


_PARTS = st.sampled_from(
    ["\\boxed{", "}", "{", "\\frac", "<answer>", "</answer>", "####", "<think>", "</think>", "^",
     "9", "e9", "(", ")", ",", "%", "\\sqrt[", "]", "/", "-", " ", "\\{", "x", "½", "²", "\n"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.text(), st.lists(_PARTS, max_size=300).map("".join)),
    st.one_of(st.text(), st.lists(_PARTS, max_size=60).map("".join)),
)
def test_any_text_is_judged_in_time(text: str, solution: str) -> None:
    answers: Sequence[Answer] = [
        Answer(prompt=(), text=text, solution=solution),
        Answer(prompt=(), text=f"\\boxed{{{text}}}", solution=solution),
    ]
    for reward in (OWN, Accuracy(algebra="none", unmarked="last_number", tolerance=0.1)):
        assert {*asyncio.run(reward.judge(answers))} <= {None, 0.0, 1.0}


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 50_000, "<answer>" * 50_000, "{" * 200_000, "####\n" * 50_000, "9" * 300_000,
     "1," * 100_000, "\\boxed{" + "1,234," * 30 + "}", "\\text{" * 50_000, "$" * 200_000],
)  # fmt: skip
def test_long_rubbish_is_wrong(text: str) -> None:
    assert judged(Accuracy(algebra="none", unmarked="last_number"), text, "5") == 0
