"""Rollouts: which answers are drawn, by whom, and what is trained on of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from swift import train_grpo
from swift.chat.message import Message
from swift.chat.speaker import Speaker
from swift.core.env import cache_home
from swift.core.errors import MachineError, PlanError, UserError
from swift.core.events import read_events
from swift.model.find import find_model
from swift.reward import Answer
from swift.run.rollout.drawn import Drawn, keep, kept, mark, rows_of
from swift.run.rollout.replies import Replies

SIZES: dict[str, Any] = {"group": 4, "max_tokens": 6, "batch_size": 8, "micro_batch_size": 4}


def trained(folder: Path, reward: Any, **options: Any) -> list[dict[str, Any]]:
    """Train grpo on nano, and return its steps."""
    train_grpo(
        "nano",
        "nano-numbers",
        reward=reward,
        output_dir=str(folder),
        **{"learning_rate": 1e-3, "max_steps": 2, **SIZES, **options},
    )
    return [e for e in read_events(folder / "events.jsonl") if e["event"] == "step"]


def right(answers: Sequence[Answer]) -> list[float]:
    return [float(a.text.strip() == a.solution) for a in answers]


def drawn_of(folder: Path, count: int) -> list[Drawn]:
    return [one for number in range(count) for one in kept(folder, number)]


def test_a_group_that_is_all_alike_gives_way_to_another_question(tmp_path: Path) -> None:
    odd = {"dynamic_sampling": True, "max_draws": 6}
    trained(tmp_path / "a", lambda answers: [float(a.ids[0] % 2) for a in answers], **odd)
    groups: dict[int, set[float | None]] = {}
    for one in kept(tmp_path / "a", 0):
        groups.setdefault(one.group, set()).add(one.reward)
    assert len(groups) == 2
    assert all(len(values) == 2 for values in groups.values())


def test_where_all_groups_stay_alike_the_run_goes_on_with_what_there_is(tmp_path: Path) -> None:
    steps = trained(
        tmp_path / "a", lambda answers: [1.0] * len(answers), dynamic_sampling=True, max_draws=2
    )
    assert [s["frac_reward_zero_std"] for s in steps] == [1.0, 1.0]
    assert [s["grad_norm"] for s in steps] == [0.0, 0.0]
    assert len(kept(tmp_path / "a", 1)) == 8


def test_questions_go_on_where_the_rollout_before_ended(tmp_path: Path) -> None:
    trained(tmp_path / "a", right, max_steps=4)
    origins = [one.origin for one in drawn_of(tmp_path / "a", 4)]
    assert len(set(origins)) == 8  # two to a rollout, none twice


def test_truncated_answers_carry_no_loss_where_that_is_said() -> None:
    cut = Drawn(
        group=0,
        origin="a:1",
        prompt=[1, 2],
        ids=[3, 4, 5],
        own=[True, False, True],
        logprobs=[-1.0, -1.0],
        text="x",
        finish="length",
        reward=1.0,
    )
    assert rows_of([cut], mask_truncated=False).sequence(0, 0)[1].tolist() == [
        *(False, False),
        *(True, False, True),
    ]
    assert not rows_of([cut], mask_truncated=True).sequence(0, 0)[1].any()


@pytest.mark.parametrize(
    "change", [lambda text: "", lambda text: text[:40], lambda text: text * 2, lambda text: None]
)
def test_answers_that_are_not_those_that_were_written_are_refused(
    tmp_path: Path, change: Callable[[str], str | None]
) -> None:
    keep(tmp_path, 3, [Drawn(group=0, origin="a:1", prompt=[1], ids=[2], own=[True], logprobs=[0],
                             text="x")])  # fmt: skip
    written = mark(tmp_path, 3)
    assert kept(tmp_path, 3, written)[0].text == "x"
    path = tmp_path / "rollouts" / "000003.jsonl"
    now = change(path.read_text())
    path.unlink() if now is None else path.write_text(now)
    with pytest.raises(PlanError, match="in the middle of answers that are not there"):
        kept(tmp_path, 3, written)


def test_answers_that_cannot_be_kept_end_the_run_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "rollouts").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        keep(tmp_path, 0, [])


REPLY = """
def reply(messages, columns):
    if len([m for m in messages if m["role"] == "assistant"]) == 2:
        return None
    assert messages[-1]["role"] == "assistant" and "solution" in columns
    return [{"role": "user", "content": "Again: 12, 34"}]
"""


def test_a_reply_is_read_but_not_learnt_and_answers_stay_token_for_token(tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text(REPLY)
    seen: list[Answer] = []

    def reward(answers: Sequence[Answer]) -> list[float]:
        seen.extend(answers)
        return right(answers)

    trained(
        tmp_path / "a",
        reward,
        turns=f"{tmp_path}/env.py:reply",
        max_turns=3,
        max_tokens=60,
        max_steps=1,
    )
    folder = find_model("nano", cache_home())
    speaker = Speaker.load(folder)
    both = [one for one in kept(tmp_path / "a", 0) if one.said]
    assert both
    for one in both:
        turns = [m["role"] for m in one.said]
        assert turns == ["assistant", "user"]
        first = one.own.index(False)
        assert speaker.say(one.ids[: first - 1]) == one.said[0]["content"]
        asked = [
            *_asked(seen, one),
            *(Message(role=m["role"], content=m["content"]) for m in one.said),
        ]
        last = len(one.ids) - 1 - list(reversed(one.own)).index(False)
        assert [*one.prompt, *one.ids[: last + 1]] == speaker.chat(asked)
    assert all(answer.prompt[-1].role == "user" for answer in seen)


def _asked(seen: Sequence[Answer], one: Drawn) -> list[Message]:
    found = next(a for a in seen if list(a.ids) == list(one.ids))
    return list(found.prompt)[: -len(one.said)]


def test_a_function_that_fails_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text("def reply(messages, columns):\n    return 1 / 0\n")
    with pytest.raises(UserError, match=r"env\.py:reply.*nano-numbers:\d+: ZeroDivisionError"):
        trained(tmp_path / "a", right, turns=f"{tmp_path}/env.py:reply")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ('"a\\ud800b"', "surrogates not allowed"),
        ('{"role": "user", "content": "x", "id": object()}', "not JSON serializable"),
        ("exit(0)", "SystemExit: 0"),
        ("next(iter(()))", "StopIteration"),
    ],
)
def test_a_reply_that_nobody_could_read_or_keep_is_refused(reply: str, why: str) -> None:
    def made(messages: Any, columns: Any) -> Any:
        return eval(reply)

    origin = "mine.jsonl:7"
    error = Replies("env.py:made", 2, None)._one(made, [], {}, origin)
    assert isinstance(error, UserError)
    assert why in str(error) and origin in str(error)


def test_held_out_questions_are_answered_and_judged(tmp_path: Path) -> None:
    trained(tmp_path / "a", right, validation=0.01, eval_every=1)
    evals = [e for e in read_events(tmp_path / "a" / "events.jsonl") if e["event"] == "eval"]
    assert [e["step"] for e in evals] == [1, 2]
    assert all(0 <= e["reward"] <= 1 and "rewards/right/mean" in e for e in evals)


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    words = [sys.executable, "-P", "-m", "swift", "grpo", str(recipe), "--output_dir", str(out)]
    return [*words, *more]


RECIPE = """
model: {id: nano, dtype: float32}
method: {name: grpo, group: 4, max_tokens: 6, steps: 2}
dataset: nano-numbers
train: {batch_size: 8, micro_batch_size: 2, max_steps: 4, learning_rate: 1e-3, save_every: 0}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return path


ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tp"])
def test_two_ranks_draw_and_learn_what_one_process_does(
    recipe: Path, tmp_path: Path, strategy: str
) -> None:
    wide = ["--tensor_model_parallel_size", "2"] if strategy == "tp" else ["--strategy", strategy]
    for out, more in (("one", []), ("two", [*wide, "--nproc_per_node", "2"])):
        words = command(recipe, tmp_path / out, "--tuner", "full", *more)
        done = subprocess.run(words, env=ALONE, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    alike = zip(drawn_of(tmp_path / "one", 2), drawn_of(tmp_path / "two", 2), strict=True)
    for a, b in alike:
        assert (a.prompt, a.ids, a.reward) == (b.prompt, b.ids, b.reward)
    started = [e for e in read_events(tmp_path / "two" / "events.jsonl") if e["event"] == "start"]
    assert started[0]["proof"]["world"] == 2
    base, one, two = map(load_file, (
        find_model("nano", cache_home()) / "model.safetensors",
        *(tmp_path / out / "checkpoint-4" / "model.safetensors" for out in ("one", "two")),
    ))  # fmt: skip
    apart, moved = (
        sum(float((one[n].double() - other[n].double()).square().sum()) for n in one)
        for other in (two, base)
    )
    assert apart**0.5 < 0.01 * moved**0.5  # AdamW's first steps are of sign, noise or not


def test_rollouts_that_teach_nothing_are_said_once(tmp_path: Path) -> None:
    trained(tmp_path / "a", lambda answers: [0.5] * len(answers), max_steps=5)
    said = [
        e["text"] for e in read_events(tmp_path / "a" / "events.jsonl") if e["event"] == "warning"
    ]
    assert len([text for text in said if "had the same reward" in text]) == 1
