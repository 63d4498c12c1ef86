"""Layout, length and repetition, by hand; and all rewards at once."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.errors import MachineError, TrainingError, UserError
from swift.reward import Answer, Reward, rewards
from swift.reward.format import Format
from swift.reward.function import Function
from swift.reward.length import Cosine, Overlong
from swift.reward.model import RewardModel
from swift.reward.repetition import Repetition, repeated
from swift.reward.together import judged
from tests.reward.asking import answer, of


@pytest.mark.parametrize(
    ("pattern", "text", "right"),
    [
        ("think_answer", "<think>a</think><answer>b</answer>", 1),
        ("think_answer", "\n<think>\na\n</think>\n\n<answer>b</answer>\n", 1),
        ("think_answer", "<think></think><answer>b</answer>", 1),
        ("think_answer", "<think>a</think><answer> </answer>", 0),
        ("think_answer", "<think>a</think>so <answer>b</answer>", 0),
        ("think_answer", "<think>a</think><answer>b</answer> bye", 0),
        ("think_answer", "Well. <think>a</think><answer>b</answer>", 0),
        ("think_answer", "<answer>b</answer><think>a</think>", 0),
        ("think_answer", "<think>a</think><answer>b</answer><answer>c</answer>", 0),
        ("think_answer", "<think><think>a</think><answer>b</answer>", 0),
        ("think_answer", "<think>a</think>b", 0),
        ("think_answer", "", 0),
        ("think", "<think>a</think>b", 1),
        ("think", "<think>a</think>\n", 0),
        ("think", "<think>a", 0),
        ("think", "a</think>b", 0),
        (r"\d+ .*!", "42 is\nit!", 1),
        (r"\d+ .*!", "so 42 is it!", 0),
    ],
)
def test_a_layout_is_there_or_not(pattern: str, text: str, right: float) -> None:
    assert of(Format(pattern=pattern), answer(text)) == [right]


def test_a_template_may_have_opened_the_thinking() -> None:
    assert of(Format(pattern="think", opened=True), answer("a</think>b")) == [1]


def test_an_answer_that_was_cut_has_no_layout() -> None:
    cut = answer("<think>a</think>b", finish="length")
    assert of(Format(pattern="think"), cut) == [0]


def test_an_expression_that_never_ends_fits_nothing() -> None:
    assert of(Format(pattern="(a|aa)+b|(a*)*c"), answer("a" * 5000)) == [0]


@pytest.mark.parametrize(
    ("length", "right", "worth"),
    [
        (0, True, 2.0),
        (25, True, 1 + (1 + math.sqrt(0.5)) / 2),
        (50, True, 1.5),
        (0, False, -10.0),
        (50, False, -5.0),
        (75, False, -10 * (1 - math.sqrt(0.5)) / 2),
        (100, True, -10.0),
        (100, False, -10.0),
        (150, True, -10.0),
    ],
)
def test_cosine_is_the_papers(length: int, right: bool, worth: float) -> None:
    said = answer("\\boxed{5}" if right else "\\boxed{6}", solution="5", ids=range(length))
    assert of(Cosine(max_length=100), said) == [pytest.approx(worth, abs=1e-12)]


def test_cosine_does_not_apply_where_accuracy_does_not() -> None:
    assert of(Cosine(max_length=100), answer("5")) == [None]


@pytest.mark.parametrize(
    ("length", "worth"), [(0, 0), (80, 0), (81, -0.05), (90, -0.5), (100, -1), (101, -1), (999, -1)]
)
def test_overlong_is_dapos(length: int, worth: float) -> None:
    assert of(Overlong(max_length=100, cache=20), answer("", ids=range(length))) == [worth]


@pytest.mark.parametrize(
    ("ids", "ngram", "share"),
    [
        ([], 1, 0),
        ([1, 2, 3], 4, 0),
        ([1, 2, 3, 4], 2, 0),
        ([1, 2, 1, 2], 2, 2 / 4),
        ([1, 1, 1, 1], 2, 3 / 4),
        ([1, 2, 3, 9, 1, 2, 3], 3, 3 / 7),
        ([1, 2, 9, 1, 2, 9, 1, 2], 2, 5 / 8),
        ([5, 5], 1, 1 / 2),
    ],
)
def test_repetition_counts_tokens_of_what_was_there(
    ids: list[int], ngram: int, share: float
) -> None:
    assert repeated(ids, ngram) == share
    assert of(Repetition(ngram=ngram, penalty=-2), answer("", ids=ids)) == [-2 * share]


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 7))
def test_repetition_is_the_papers_algorithm(ids: list[int], ngram: int) -> None:
    seen, marks = set(), [0] * len(ids)
    for start in range(len(ids) - ngram + 1):
        piece = tuple(ids[start : start + ngram])
        if piece in seen:
            marks[start : start + ngram] = [1] * ngram
        seen.add(piece)
    assert repeated(ids, ngram) == (sum(marks) / len(ids) if ids else 0)


def test_a_reward_model_that_nobody_opened_says_so() -> None:
    with pytest.raises(UserError, match="reward model runs/rm-1 is not opened"):
        judged([RewardModel(id="runs/rm-1")], [answer("a")])


def test_a_reward_model_gives_what_its_scorer_says() -> None:
    asked = RewardModel(id="runs/rm-1", weight=2)
    said = judged(
        [asked.opened(lambda answers: [float(len(a.text)) or None for a in answers])],
        [answer("abc"), answer("")],
    )
    assert said.total == (6, 0)
    assert said.applies == (True, False)
    with pytest.raises(UserError):
        judged([asked], [answer("abc")])


def test_the_registry_has_them_all() -> None:
    known = "accuracy cosine format function judge model overlong repetition".split()
    assert list(rewards) == known


# --- all at once ----------------------------------------------------------------------------------


def some(answers: Sequence[Answer]) -> list[float | None]:
    return [None if "n" in a.text else float(len(a.text)) for a in answers]


def test_the_sum_is_weighted_and_the_values_stand_apart() -> None:
    said = judged(
        [Function.of(some, weight=0.5), Format(pattern="a+", weight=3), Function.of(some)],
        [answer("aa"), answer("bbbb"), answer("n")],
    )
    assert said.names == ("some", "format", "some_2")
    assert said.values == ((2, 4, None), (1, 0, 0), (2, 4, None))
    assert said.total == (2 * 0.5 + 3 + 2, 4 * 0.5 + 4, 0)
    assert said.metrics["rewards/some/mean"] == 3
    assert said.metrics["rewards/some/std"] == 1
    assert said.metrics["rewards/format/mean"] == pytest.approx(1 / 3)
    assert said.metrics["rewards/format/std"] == pytest.approx(math.sqrt(2) / 3)
    assert said.metrics["rewards/unjudged"] == 0


def test_what_no_reward_applies_to_is_told() -> None:
    said = judged([Function.of(some)], [answer("n"), answer("a")])
    assert said.applies == (False, True)
    assert said.total == (0, 1)
    assert said.metrics["rewards/unjudged"] == 0.5
    nothing = judged([Function.of(some)], [answer("n")])
    assert set(nothing.metrics) == {"rewards/unjudged"}


def test_no_answers_are_judged_at_once() -> None:
    said = judged([Function.of(some)], [])
    assert (said.total, said.values, said.metrics) == ((), ((),), {})


def test_rewards_run_side_by_side() -> None:
    meet = threading.Barrier(3)

    def waits(answers: Sequence[Answer]) -> list[float]:
        meet.wait(20)
        return [1.0] * len(answers)

    assert judged([Function.of(waits)] * 3, [answer("a")]).total == (3,)


def test_one_that_hangs_is_named_and_the_rest_goes_on() -> None:
    never, ended = threading.Event(), threading.Event()

    def hangs(answers: Sequence[Answer]) -> list[float]:
        never.wait()
        return []

    async def dawdles(answers: Sequence[Answer]) -> list[float]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return []

    with pytest.raises(MachineError, match=r"`hangs`, `dawdles` gave no answer in 0\.2 s"):
        judged([Function.of(f) for f in (hangs, some, dawdles)], [answer("a")], limit=0.2)
    assert ended.wait(20)  # what waits is cancelled
    never.set()


@pytest.mark.parametrize(
    ("gives", "kind", "says"),
    [
        (math.nan, TrainingError, "gave nan for the answer 'what is said' to 'what is asked'"),
        (math.inf, TrainingError, "gave inf for the answer"),
        ("high", UserError, "gave 'high', no number"),
        ([1.0], UserError, r"gave \[1.0\], no number"),
    ],
)
def test_what_is_no_number_names_reward_answer_and_prompt(
    gives: object, kind: type[Exception], says: str
) -> None:
    def odd(answers: Sequence[Answer]) -> list[object]:
        return [gives]

    with pytest.raises(kind, match=says) as error:
        judged([Function.of(odd)], [answer("what is said", asks="what is asked")])
    assert "`odd`" in str(error.value)


@pytest.mark.parametrize(
    ("gives", "says"),
    [([], "gave 0 values for 1 answers"), (1.0, "gave 1.0, no list"), ("a", "gave 'a', no list")],
)
def test_a_wrong_count_is_an_error(gives: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        judged([Function.of(lambda answers: gives)], [answer("a")])


def test_all_that_went_wrong_is_said_at_once() -> None:
    def first(answers: Sequence[Answer]) -> list[float]:
        raise ValueError("one")

    def second(answers: Sequence[Answer]) -> list[float]:
        raise KeyError("two")

    with pytest.raises(UserError) as error:
        judged([Function.of(first), Function.of(second)], [answer("a")])
    assert [p.what.split(" raised ")[0] for p in error.value.problems] == [
        "the reward `first`",
        "the reward `second`",
    ]


def test_numbers_of_other_libraries_are_numbers() -> None:
    import numpy as np
    import torch

    for column in (np.ones(2, dtype=np.float32), torch.ones(2), (True, np.int64(1))):
        assert judged([Function.of(lambda a, c=column: c)], [answer("a")] * 2).total == (1, 1)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_gives_a_finite_number_or_none(texts: list[str]) -> None:
    answers = [answer(text, solution=text[:3], ids=list(text.encode())) for text in texts]
    plain: list[Reward] = [
        Format(),
        Format(pattern="think"),
        Cosine(max_length=9),
        Overlong(max_length=9, cache=9),
        Repetition(ngram=2),
    ]
    for reward in plain:
        for value in asyncio.run(reward.judge(answers)):
            assert value is None or math.isfinite(value)


def test_a_function_cannot_take_answers_from_the_others() -> None:
    def greedy(answers: list[Answer]) -> list[float]:
        answers.clear()
        return []

    with pytest.raises(UserError, match=r"greedy.*AttributeError"):
        judged([Function.of(greedy)], [answer("a"), answer("b")])


@pytest.mark.parametrize("value", [1e308, -1e16])
def test_values_whose_mean_could_not_be_computed_are_refused(value: float) -> None:
    def huge(answers: Sequence[Answer]) -> list[float]:
        return [value for _ in answers]

    with pytest.raises(TrainingError, match="huge"):
        judged([Function.of(huge)], [answer("a"), answer("b")])
