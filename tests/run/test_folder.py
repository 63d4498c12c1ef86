"""A run that fails leaves a folder that says why, or none; and the next one does not count up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from swift.core.errors import DataError, MachineError, TrainingError, WriteError
from swift.core.events import Events, read_events
from swift.core.files import locked
from swift.plan import Plan, resolve
from swift.recipe import Recipe, read
from swift.run import folder as place
from swift.run.folder import claim, told
from swift.run.launch import launch
from tests.kit import chat_rows, tiny_chat_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "rows.jsonl", 9)
    (folder / "bad.jsonl").write_text('{"x": 1}\n' * 3)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))


def recipe(base: Path, rows: str = "rows.jsonl", **said: object) -> Recipe:
    named = {"model": str(base / "model"), "dataset": str(base / rows), "train.max_steps": 1}
    return read(None, [*(named | said).items()], "sft")


def plan(base: Path, **said: object) -> Plan:
    return resolve(recipe(base, "rows.jsonl", **said))


def runs() -> list[str]:
    return sorted(path.name for path in Path("runs").iterdir()) if Path("runs").is_dir() else []


def last(folder: str) -> dict[str, object]:
    return [*read_events(Path("runs") / folder / "events.jsonl")][-1]


def test_failing_again_does_not_count_up(base: Path) -> None:
    for _ in "twice":
        with pytest.raises(DataError, match="columns 'x' are no format's"):
            launch(recipe(base, "bad.jsonl"))
    assert runs() == ["model-sft-001"]
    assert "columns 'x'" in str(last("model-sft-001")["error"])
    assert launch(recipe(base)).parent.name == "model-sft-001"
    assert launch(recipe(base)).parent.name == "model-sft-002"
    with pytest.raises(DataError):
        launch(recipe(base, "bad.jsonl"))
    assert runs() == ["model-sft-001", "model-sft-002", "model-sft-003"]


def test_a_run_that_began_or_is_under_way_keeps_its_folder(base: Path) -> None:
    made = plan(base)
    first, _ = claim(made)
    (first / "events.jsonl").write_text('{"event": "start"}\n{"event": "end"}\n')
    second, _ = claim(made)
    (second / "events.jsonl").write_text('{"event": "note"}\n')
    third, _ = claim(made)
    (third / "events.jsonl").write_text('{"event": "end"}\n')
    with locked(third / ".lock"):
        assert claim(made)[0].name == "model-sft-004"
    assert claim(made)[0] == third
    assert claim(made)[0].name == "model-sft-005"


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("what", ["probe", "write_plan"])
def test_a_folder_that_cannot_be_filled_does_not_stay(
    base: Path, monkeypatch: pytest.MonkeyPatch, what: str, named: bool
) -> None:
    made = plan(base, output_dir="out" if named else None)

    def full(*_: object) -> None:
        raise WriteError("the disk is full")

    monkeypatch.setattr(place, what, full)
    with pytest.raises(WriteError, match="full"):
        claim(made)
    assert (runs(), Path("out").exists()) == ([], False)


def test_runs_that_lead_nowhere_are_an_error_and_no_endless_count(base: Path) -> None:
    Path("runs").symlink_to("nowhere")
    with pytest.raises(MachineError, match="cannot write runs: File exists"):
        claim(plan(base))


def test_what_fails_before_training_is_told_in_the_folder(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(folder: Path) -> None:
        raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr("swift.run.launch.clear_partial", wrong)
    with pytest.raises(ImportError):
        launch(recipe(base))
    end = last("model-sft-001")
    assert (end["event"], end["reason"], end["exit_code"]) == ("end", "failed", 1)
    assert "libtorch.so" in str(end["error"])


def test_what_is_told_is_not_told_twice_nor_into_a_folder_at_work(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.write("note")
    with locked(tmp_path / ".lock"), pytest.raises(MachineError), told(tmp_path):
        raise MachineError("somebody is at work here")
    with pytest.raises(TrainingError), told(tmp_path):
        events.write("end", reason="failed")
        raise TrainingError("as training has said")
    assert [event["event"] for event in read_events(events.path)] == ["note", "end"]
    with pytest.raises(MachineError), told(tmp_path):
        raise MachineError("another failure of the same run")
    events.close()
    assert [event["event"] for event in read_events(events.path)] == ["note", "end", "end"]


def test_a_cache_that_is_a_file_keeps_nobody_from_the_embedded_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = launch(recipe(base, model="nano"))
    spare = tmp_path / f"swift-{os.getuid()}"
    assert (done.is_dir(), spare.stat().st_mode & 0o777) == (True, 0o700)
    texts = [str(event.get("text")) for event in read_events(done.parent / "events.jsonl")]
    assert [text[:25] for text in texts if "in memory" in text] == ["tokens are kept in memory"]
    assert json.loads((done / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert (tmp_path / "file").read_text() == ""
