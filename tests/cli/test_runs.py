"""`swift runs show RUN` tells all of a run from its files, whatever is left of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift.cli.history import curve
from swift.cli.main import main
from swift.run.rollout.drawn import Drawn, keep

PLAN = {
    "recipe": {
        "method": {"name": "dpo"},
        "model": {"id": "nano"},
        "dataset": [{"name": "pairs.jsonl"}, {"name": "more"}],
    }
}


def step(number: int, loss: float, **more: object) -> dict[str, object]:
    cost = {"tokens": 100, "seconds": 0.5, "memory_mb": 200.0 + number}
    return {"event": "step", "step": number, "loss": loss, "rewards/margins": 0.1, **cost, **more}


WHOLE: list[dict[str, object]] = [
    {"event": "start", "step": 0, "total_steps": 4},
    {"event": "warning", "text": "one row is long"},
    step(1, 4.0),
    step(2, 1.0),
    step(3, 9.0),
    {"event": "resume", "step": 2, "total_steps": 4},
    step(3, 2.0),
    step(4, 3.0),
    {"event": "eval", "step": 2, "loss": 1.25},
    {"event": "eval", "step": 4, "loss": 1.5},
    {"event": "end", "reason": "finished"},
]


def run(folder: Path, *events: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    lines = [json.dumps({"time": 0, **event}) + "\n" for event in events]
    (folder / "events.jsonl").write_text("".join(lines))
    (folder / "plan.json").write_text(json.dumps(PLAN))
    (folder / "recipe.yaml").write_text("method: dpo\nmodel: nano\n")
    return folder


def shown(
    folder: Path | str, capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[str, dict[str, Any]]:
    """Return the page and the JSON of a run."""
    assert main(["runs", "show", str(folder), *flags]) == 0
    page = capsys.readouterr().out
    assert main(["runs", "show", str(folder), *flags, "--json"]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return page, facts


def test_a_run_is_told_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path / "a", *WHOLE)
    (folder / "checkpoint-4").mkdir()
    (folder / "checkpoint-4" / "swift.json").write_text("{}")
    (folder / "checkpoint-4" / "weights").write_bytes(bytes(4998))
    page, facts = shown(folder, capsys)
    assert (facts["state"], facts["method"], facts["model"]) == ("finished", "dpo", "nano")
    assert facts["data"] == ["pairs.jsonl", "more"]
    assert (facts["step"], facts["total_steps"], facts["resumed"]) == (4, 4, 1)
    assert facts["loss"] == {"last": 3.0, "last_step": 4, "best": 1.0, "best_step": 2}
    assert facts["validation"] == {"last": 1.5, "last_step": 4, "best": 1.25, "best_step": 2}
    assert (facts["tokens"], facts["tokens_per_second"], facts["memory_mb"]) == (400, 200, 204)
    assert facts["checkpoints"] == [{"name": "checkpoint-4", "bytes": 5000}]
    assert facts["warnings"] == ["one row is long"]
    for words in (
        "4 of 4, gone on with 1 time",
        "3.0000 after step 4; best 1.0000 after step 2",
        "200 tokens per second (400 tokens in 2.0 s of steps)",
        "checkpoint-4  5.0 kB",
        "rewards/margins 0.1",
        "one row is long",
        "method: dpo\n             model: nano",
    ):
        assert words in page


def test_a_name_is_looked_for_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "runs" / "a", *WHOLE)
    assert shown("a", capsys)[1]["name"] == "a"


def test_a_failed_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end: dict[str, object] = {"event": "end", "reason": "failed", "error": "the loss\nis nan"}
    page, facts = shown(run(tmp_path / "a", *WHOLE[:4], end), capsys)
    assert (facts["state"], facts["error"]) == ("failed", "the loss\nis nan")
    assert "error  the loss\n             is nan" in page


def test_a_torn_line_hides_nothing_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "a", *WHOLE[:4])
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "step": 3, "lo')
    _, facts = shown(folder, capsys)
    assert (facts["state"], facts["step"], facts["loss"]["last"]) == ("running", 2, 1.0)


@pytest.mark.parametrize("flags", [(), ("--draw",)])
def test_an_empty_folder_has_little_to_tell(
    flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, facts = shown(tmp_path, capsys, *flags)
    assert (facts["state"], facts["step"], facts["loss"], facts["curves"]) == (
        "empty",
        0,
        None,
        None,
    )
    assert "empty" in page


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "step"}',
        '{"event": "step", "step": "3", "loss": "low"}',
        '{"event": "step", "step": 1, "loss": null, "tokens": [], "seconds": 0}',
        '{"event": "step", "step": 1, "loss": NaN, "tokens": 5, "seconds": 0.0}',
        '{"event": "step", "step": 1, "loss": -Infinity, "memory_mb": "x"}',
        '{"event": "step", "step": 1, "loss": 1' + "0" * 400 + "}",
        '{"event": "step", "step": 1.5, "loss": 2}',
        '{"event": "warning", "text": "\\u001b[31m\\ud800"}',
        '{"event": "end", "reason": null, "error": {"a": 1}}',
        '{"event": [], "time": "x"}',
        "[]",
        "\x00\x00",
    ],
)
def test_no_line_of_another_version_ends_in_a_traceback(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "a", *WHOLE[:3])
    with (folder / "events.jsonl").open("a") as file:
        file.write(line + "\n")
    page, _ = shown(folder, capsys)
    assert "\x1b" not in page
    page.encode("utf-8")


@pytest.mark.parametrize("plan", ["", "{", "[]", '{"recipe": {"dataset": 3, "model": []}}'])
def test_nor_does_a_spoilt_plan(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "a", *WHOLE)
    (folder / "plan.json").write_text(plan)
    _, facts = shown(folder, capsys)
    assert (facts["model"], facts["loss"]["best"]) == ("?", 1.0)


def test_curves_are_drawn_again_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "a", *WHOLE)
    assert shown(folder, capsys)[1]["curves"] is None
    assert shown(folder, capsys, "--draw")[1]["curves"] == str(folder / "curves.png")
    assert (folder / "curves.png").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show"], "name one run"),
        (["show", "nowhere"], "there is no run `nowhere`"),
        (["show", "a\0b"], "there is no run `a?b`"),
        (["show", "a", "--fast"], "does not take fast"),
    ],
)
def test_a_wrong_word_is_a_problem(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_small_curve_falls_where_the_loss_does() -> None:
    lines = curve([(n, 8.0 - n) for n in range(1, 9)], high=8)
    assert lines[0] == "7 |*"
    assert lines[7] == "0 |       *"
    assert lines[8:] == ["  +--------", "   1      8"]


def test_a_long_run_keeps_to_its_width_and_a_level_one_is_a_line() -> None:
    assert max(map(len, curve([(n, float(n % 7)) for n in range(1, 5000)]))) <= 75
    assert curve([(1, 2.0), (2, 2.0)])[0] == "2 |**"


def test_where_answers_are_judged_the_reward_is_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = run(tmp_path / "drawn", step(1, 0.0, reward=0.2), step(2, -0.0, reward=0.7))
    assert main(["runs", str(tmp_path)]) == 0
    assert "reward 0.7000" in capsys.readouterr().out
    assert main(["runs", "show", str(place)]) == 0
    said = capsys.readouterr().out
    assert "0.7000 after step 2; best 0.7000 after step 2" in said
    assert "reward of steps 1 to 2" in said
    assert "loss" not in said


def test_answers_that_were_drawn_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = run(tmp_path / "drawn", step(1, 0.0, reward=0.2))
    drawn = [
        Drawn(
            group=i,
            origin=f"a.jsonl:{i}",
            prompt=[1],
            question=f"how many {i}",
            ids=[2],
            own=[True],
            logprobs=[-0.5],
            text=f"just {i}",
            rewards={"accuracy": 1.0},
            reward=1.0,
        )
        for i in range(6)
    ]
    keep(place, 0, drawn)
    assert main(["runs", "show", str(place), "--samples", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 of 6 answers" in said
    assert "how many 3  (a.jsonl:3)" in said
    assert "just 3" in said
    assert "1.0  (accuracy 1.0)" in said


@pytest.mark.parametrize(("count", "why"), [("x", "no number"), ("0", "no number"), ("3", "drawn")])
def test_samples_that_cannot_be_shown_are_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: str, why: str
) -> None:
    place = run(tmp_path / "other", step(1, 0.5))
    assert main(["runs", "show", str(place), "--samples", count]) == 2
    assert why in capsys.readouterr().err
