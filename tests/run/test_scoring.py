"""A reward model as a reward: its scores are those of its own run, whatever it is saved as."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swift import train_grpo, train_rm
from swift.chat.message import Message
from swift.core.env import Ranks
from swift.core.errors import PlanError
from swift.core.events import read_events
from swift.method import Method, methods
from swift.plan import Plan, resolve
from swift.plan.value import read_plan
from swift.recipe import read
from swift.reward import Answer
from swift.reward.function import Function
from swift.reward.model import RewardModel
from swift.reward.together import judged
from swift.run.data import prepare
from swift.run.export import merge
from swift.run.given import Given
from swift.run.rollout import scoring
from swift.run.rollout.scoring import ScoringModel, judges
from swift.run.save import restore
from swift.run.train import place
from swift.seam.collate import Lay, collate
from tests.kit import tiny_chat_model
from tests.run.test_rm import pair_rows

ROWS = 24


class Trained(NamedTuple):
    base: Path
    data: Path
    run: Path


@pytest.fixture(scope="module", params=["full", "lora"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("scoring")
    base = tiny_chat_model(folder / "base")
    data = pair_rows(folder / "rows.jsonl", ROWS)
    result = train_rm(
        str(base),
        str(data),
        eval_dataset=str(pair_rows(folder / "held.jsonl", ROWS - 1)),
        tuner=request.param,
        output_dir=str(folder / "run"),
        batch_size=4,
        max_steps=4,
        lr=0.01,
    )
    return Trained(base, data, result.run)


@pytest.fixture(autouse=True)
def draws() -> Iterator[None]:
    """A method that draws answers, for as long as a test takes."""

    @methods.add("draws")
    class Draws(Method):
        """Draws answers."""

        wants = "prompts"

    yield
    methods._members.pop("draws")


def planned(trained: Trained, id: str, **more: Any) -> Plan:
    rewards = [{"name": "model", "id": id}]
    said = {"model": str(trained.base), "reward": rewards, "dataset": str(trained.data), **more}
    return resolve(read(None, list(said.items()), "draws"))


def opened(trained: Trained, id: str) -> Callable[[Sequence[Answer]], tuple[float, ...]]:
    ready = judges(planned(trained, id), Ranks())
    return lambda answers: judged(ready, answers).total


def conversations(path: Path, side: str) -> list[Answer]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Answer(prompt=(Message(role="user", content=row["prompt"]),), text=row[side])
        for row in rows
    ]


def by_its_own_run(trained: Trained) -> list[float]:
    """Return the scores of all chosen answers, then of all rejected ones, by what trained it."""
    plan = read_plan(trained.run)
    policy, _ = place(plan, Ranks())
    restore(policy, trained.run / "checkpoint-4", Ranks(), plan.device)
    rows = prepare(plan, lambda *args, **fields: None)
    assert len(rows.train) == ROWS
    batch = collate(rows.train, range(ROWS), Lay(pad_id=rows.pad_id, scored=True))
    (out,) = policy.no_grad([batch], "policy", frozenset({"score"}))
    assert out.score_N is not None
    scores: list[float] = out.score_N.tolist()
    return scores


@pytest.mark.parametrize("saved", ["run", "checkpoint", "merged"])
def test_scores_are_those_of_its_own_trainer(trained: Trained, saved: str, tmp_path: Path) -> None:
    id = trained.run if saved == "run" else trained.run / "checkpoint-4"
    if saved == "merged" and (id / "adapter_config.json").is_file():
        id = merge(str(trained.run), tmp_path / "merged")
    score = opened(trained, str(id))
    asked = [a for side in ("chosen", "rejected") for a in conversations(trained.data, side)]
    found = score(asked)
    assert found == pytest.approx(by_its_own_run(trained), abs=1e-5)
    assert max(found) - min(found) > 0.01, "they differ, so that being equal says something"


def test_means_are_those_of_its_own_validation(trained: Trained) -> None:
    events = list(read_events(trained.run / "events.jsonl"))
    told = [event for event in events if event["event"] == "eval"][-1]
    score = opened(trained, str(trained.run))
    held = trained.data.with_name("held.jsonl")
    for side in ("chosen", "rejected"):
        found = score(conversations(held, side))
        assert sum(found) / len(found) == pytest.approx(told[f"rewards/{side}"], abs=1e-5)


def test_micro_batches_change_nothing(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    score = opened(trained, str(trained.run))
    asked = conversations(trained.data, "chosen")
    once = score(asked)
    monkeypatch.setattr(scoring, "_ROOM", 1)
    assert score(asked) == pytest.approx(once, abs=1e-6)
    assert score(asked[::-1]) == pytest.approx(once[::-1], abs=1e-6)
    assert len(score([])) == 0


def test_the_longest_go_first_and_no_micro_batch_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "_ROOM", 10)
    lengths = [3, 12, 5, 2, 5, 2]
    found = list(scoring._micro_batches(range(6), lengths))
    assert found == [[1], [2, 4], [0, 3, 5]]


def test_what_it_cannot_read_has_no_score(trained: Trained) -> None:
    plan = planned(trained, str(trained.run))
    model = ScoringModel.open(str(trained.run), plan, "cpu")
    asked = conversations(trained.data, "chosen")[:2]
    long = Answer(prompt=asked[0].prompt, text="river " * 300)
    empty = Answer(prompt=asked[0].prompt, text="")
    one, none, other, silent = model.scores([asked[0], long, asked[1], empty])
    assert model.context == 256
    assert none is None
    assert None not in (one, other, silent)


def test_a_run_is_pinned_to_the_checkpoint_that_was_there(trained: Trained) -> None:
    plan = planned(trained, str(trained.run))
    (reward,) = plan.reward
    assert isinstance(reward, RewardModel)
    place = trained.run / "checkpoint-4"
    assert Path(reward.id) == place.resolve()


def test_a_training_is_judged_by_it_and_by_a_function_that_is_there(
    trained: Trained, tmp_path: Path
) -> None:
    seen: list[Answer] = []

    def listens(answers: Sequence[Answer]) -> list[float | None]:
        seen.extend(answers)
        return [None for _ in answers]

    result = train_grpo(
        str(trained.base),
        str(trained.data),
        reward=[{"name": "model", "id": str(trained.run)}, listens],
        output_dir=str(tmp_path / "run"),
        batch_size=8,
        max_tokens=6,
        max_steps=1,
    )
    (step,) = result.history
    assert len(seen) == 8
    found = opened(trained, str(trained.run))(seen)
    assert step["rewards/model/mean"] == pytest.approx(sum(found) / 8, abs=1e-5)
    assert step["reward"] == pytest.approx(sum(found) / 8, abs=1e-5)
    assert "rewards/listens/mean" not in step


def brief(answers: Sequence[Answer]) -> list[float | None]:
    return [-float(len(answer.text)) for answer in answers]


def test_live_functions_judge_where_they_stand_and_are_missed_where_not(trained: Trained) -> None:
    plan = planned(trained, str(trained.run), reward=[Function.of(brief), "accuracy"])
    forgotten = Plan.model_validate_json(plan.model_dump_json())
    answer = Answer(prompt=(), text="four", solution="four")
    ready = judges(forgotten, Ranks(), Given(rewards=(plan.reward[0],)))
    assert judged(ready, [answer]).values == ((-4.0,), (1.0,))
    with pytest.raises(PlanError, match="`brief` was a function of the Python process"):
        judges(forgotten, Ranks())
