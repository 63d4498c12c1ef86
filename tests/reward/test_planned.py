"""Rewards when a run is planned: what judges, what keeps it from judging, whose code it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from swift.core import plugins
from swift.core.errors import PlanError, RecipeError, UserError
from swift.method import Method, methods
from swift.plan import Plan, read_plan, resolve, write_plan
from swift.plan.rewarding import remembered, unnamed
from swift.recipe import read
from swift.reward import Answer
from swift.reward.accuracy import Accuracy
from swift.reward.format import Format
from swift.reward.function import Function
from tests.kit import tiny_chat_model, tiny_model

MINE = "def brevity(answers):\n    return [-len(a.text) for a in answers]\n"
Said = Sequence[tuple[str, object]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("rewards") / "model")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with mine.py in it, and a method that draws answers for as long as a test takes."""

    @methods.add("draws")
    class Draws(Method):
        """Draws answers."""

        wants = "prompts"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.py").write_text(MINE)
    yield tmp_path
    methods._members.pop("draws")


def planned(base: Path, *said: tuple[str, object], verb: str = "draws") -> Plan:
    return resolve(read(None, [("model", str(base)), *said], verb))


def anew(base: Path, *said: tuple[str, object]) -> Plan:
    """Plan as another process would: it has loaded no file of the user's."""
    plugins._tried.clear()
    return planned(base, *said)


def brief(answers: Sequence[Answer]) -> list[float | None]:
    return [-float(len(answer.text)) for answer in answers]


def another(answers: Sequence[Answer]) -> list[float | None]:
    return [0.0 for _ in answers]


def test_accuracy_judges_where_nothing_is_named_and_that_is_said(base: Path) -> None:
    plan = planned(base)
    assert plan.reward == (Accuracy(),)
    assert plan.recipe.reward == ()
    assert any("`accuracy`, since the recipe names none" in note for note in plan.notes)
    assert "accuracy" in plan.describe()


def test_what_is_named_judges_and_its_notes_are_said(base: Path) -> None:
    plan = planned(base, ("reward", "[accuracy, {name: format, weight: 0.5}]"))
    assert plan.reward == (Accuracy(), Format(weight=0.5))
    assert not any("are judged by" in note for note in plan.notes)
    assert any(note.startswith("accuracy: ") for note in plan.notes)
    assert "0.5 x format" in plan.describe()


def test_a_method_that_draws_nothing_has_no_judge(base: Path) -> None:
    assert planned(base, verb="sft").reward == ()


def test_all_that_keeps_rewards_from_judging_is_said_at_once(base: Path) -> None:
    said = "[./mine.py:brevty, ./other.py:f, {name: model, id: runs/x}]"
    with pytest.raises(PlanError) as error:
        planned(base, ("reward", said))
    text = [f"{p.what} {p.fix}" for p in error.value.problems]
    assert len(text) == 3
    assert "write `brevity`" in text[0]
    assert "no file" in text[1]
    assert "runs/x" in text[2]


def test_a_model_of_words_is_no_reward_model(base: Path) -> None:
    with pytest.raises(PlanError, match="is no reward model: a LlamaForCausalLM has no head"):
        planned(base, ("reward", f"{{name: model, id: {base}}}"))


def test_a_classifier_whose_head_is_not_in_its_files_is_none_either(
    base: Path, tmp_path: Path
) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    made = tiny_model(tmp_path / "headless", kind="llama", vocabulary=config["vocab_size"])
    own = json.loads((made / "config.json").read_text(encoding="utf-8"))
    own["architectures"] = ["LlamaForSequenceClassification"]
    (made / "config.json").write_text(json.dumps(own), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (made / name).write_bytes((base / name).read_bytes())
    with pytest.raises(PlanError, match="has no head of one number"):
        planned(base, ("reward", f"{{name: model, id: {made}}}"))


def test_other_code_is_another_plan_and_the_same_elsewhere_is_not(
    base: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ("reward", "./mine.py:brevity")
    first = anew(base, said)
    assert first.digest == anew(base, said).digest
    (here / "mine.py").write_text(MINE.replace("-len", "-2 * len"))
    assert anew(base, said).digest != first.digest
    (here / "moved").mkdir()
    (here / "moved" / "mine.py").write_text(MINE)
    monkeypatch.chdir(here / "moved")
    assert anew(base, said).digest == first.digest


def test_a_worker_finds_the_file_from_any_directory(
    base: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = anew(base, ("reward", "{name: ./mine.py:brevity, weight: 2}"))
    assert plan.reward == (Function(path=f"{here.resolve()}/mine.py:brevity", weight=2),)
    write_plan(plan, here)
    monkeypatch.chdir("/")
    again = read_plan(here)
    assert again == plan
    assert unnamed(again.reward, again.code) == []
    assert again.reward[0].problems() == ()


def test_a_run_folder_runs_no_code_that_was_not_named(base: Path, here: Path) -> None:
    write_plan(anew(base, ("reward", "./mine.py:brevity")), here)
    plugins._tried.clear()
    (here / "mine.py").write_text("raise SystemExit('it was run')\n")
    with pytest.raises(UserError, match="has changed since"):
        read_plan(here)


def test_a_plan_that_keeps_its_code_to_itself_is_caught() -> None:
    (problem,) = unnamed([Function(path="/tmp/x.py:f")], ())
    assert "`f`" in problem.what


def test_a_live_function_is_remembered_by_its_text_and_wanted_again(base: Path) -> None:
    one, two = (planned(base, ("reward", [Function.of(f)])) for f in (brief, another))
    assert one.digest == planned(base, ("reward", [Function.of(brief)])).digest
    assert one.digest != two.digest
    assert one.notes == two.notes
    (problem,) = unnamed(one.reward, one.code)
    assert "`brief` was a function of the Python process" in problem.what


def test_a_live_function_that_takes_something_else_is_refused(base: Path) -> None:
    def strange(one: int, other: int) -> list[float]:
        return []

    with pytest.raises(PlanError, match="the reward `strange` takes"):
        planned(base, ("reward", [Function.of(strange), "accuracy"]))


def test_drawn_answers_and_streams_do_not_go_together() -> None:
    with pytest.raises(RecipeError, match="which streaming does not keep"):
        read(None, [("data.streaming", True), ("max_steps", 3)], "draws")


REPLIES = "def reply(messages, columns):\n    return None\nnothing = 3\n"


def replying(base: Path, said: str) -> Plan:
    return planned(base, ("method.turns", said), verb="grpo")


def test_code_that_replies_is_remembered_and_found_from_anywhere(
    base: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "env.py").write_text(REPLIES)
    plan = replying(base, "./env.py:reply")
    (here / "env.py").write_text(REPLIES + "# changed\n")
    plugins._tried.clear()
    assert replying(base, "./env.py:reply").digest != plan.digest
    monkeypatch.chdir(here.parent)
    assert remembered("./env.py:reply", plan.code) == f"{here / 'env.py'}:reply"


def test_code_that_replies_and_was_never_named_is_not_run(base: Path, here: Path) -> None:
    (here / "env.py").write_text(REPLIES)
    plan = planned(base, verb="grpo")
    with pytest.raises(PlanError, match="does not remember the code"):
        remembered("./env.py:reply", plan.code)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("./env.py:rely", "write `reply`"),
        ("./evn.py:reply", "no file"),
        ("./env.py:nothing", "is no function"),
    ],
)
def test_what_cannot_reply_is_said_before_anything_is_opened(
    base: Path, here: Path, said: str, why: str
) -> None:
    (here / "env.py").write_text(REPLIES)
    with pytest.raises(PlanError) as error:
        replying(base, said)
    assert why in str(error.value)


def test_a_reply_without_a_function_is_a_mistake_of_the_recipe(base: Path) -> None:
    with pytest.raises(RecipeError, match=r"FILE\.py:FUNCTION"):
        replying(base, "./env.py")
