"""`swift runs` and `swift env` read what is there, and no heavy package."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from swift.cli.main import main
from swift.cli.runs import SILENT_AFTER, list_runs

PLAN = {"recipe": {"method": {"name": "dpo"}, "model": {"id": "nano"}}}


def run(folder: Path, *events: dict[str, object], plan: object = PLAN, age: float = 0) -> None:
    folder.mkdir(parents=True)
    lines = [json.dumps({"time": 0, **event}) + "\n" for event in events]
    (folder / "events.jsonl").write_text("".join(lines))
    (folder / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    then = time.time() - age
    for file in folder.iterdir():
        os.utime(file, (then, then))


STARTED = {"event": "start", "total_steps": 9}
STEPPED = {"event": "step", "step": 3, "loss": 0.25}


def test_a_run_is_told_by_its_files(tmp_path: Path) -> None:
    run(tmp_path / "a", STARTED, STEPPED)
    (found,) = list_runs(tmp_path)
    assert (found.name, found.method, found.model) == ("a", "dpo", "nano")
    assert (found.state, found.step, found.total_steps, found.loss) == ("running", 3, 9, 0.25)


@pytest.mark.parametrize(
    ("last", "age", "state"),
    [
        (STEPPED, 0, "running"),
        (STEPPED, SILENT_AFTER + 5, "broken off"),
        ({"event": "end", "reason": "finished"}, SILENT_AFTER + 5, "finished"),
        ({"event": "end", "reason": "interrupted"}, 0, "interrupted"),
        ({"event": "end", "reason": "failed"}, 0, "failed"),
    ],
)
def test_the_state_is_the_last_event(
    last: dict[str, object], age: float, state: str, tmp_path: Path
) -> None:
    run(tmp_path / "a", STARTED, last, age=age)
    assert list_runs(tmp_path)[0].state == state


def test_a_torn_line_and_a_spoilt_plan_hide_no_run(tmp_path: Path) -> None:
    run(tmp_path / "a", STEPPED, plan="{")
    with (tmp_path / "a" / "events.jsonl").open("a") as file:
        file.write('{"event": "st')
    (found,) = list_runs(tmp_path)
    assert (found.method, found.step) == ("?", 3)
    run(tmp_path / "b", plan=[])
    assert {r.state for r in list_runs(tmp_path)} == {"running", "empty"}


def test_the_run_that_changed_last_stands_first(tmp_path: Path) -> None:
    run(tmp_path / "old", age=100)
    run(tmp_path / "new")
    (tmp_path / "no-run").mkdir()
    assert [r.name for r in list_runs(tmp_path)] == ["new", "old"]


def test_runs_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "there is no run in `runs`\n"
    run(tmp_path / "runs" / "a", STARTED, STEPPED, age=7200)
    assert main(["runs"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "method", "model", "state", "step", "result", "age"]
    assert row.split() == ["a", "dpo", "nano", "broken", "off", "3/9", "loss", "0.2500", "2", "h"]
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["loss"] == 0.25


def test_env_tells_versions_and_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["torch"].split(".")[0] == "2"
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**20
    assert (facts["computes_on"], facts["devices"]) == ("cpu", [])
    assert main(["env"]) == 0
    assert "GiB" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["env", "runs"])
def test_a_word_they_do_not_know_is_a_problem(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--jsno"]) == 2
    assert f"`swift {verb}` does not take --jsno" in capsys.readouterr().err
    assert main([verb, "--help"]) == 0
