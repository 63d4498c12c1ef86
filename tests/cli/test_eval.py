"""`swift eval` and `swift infer` as commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swift.cli.main import main
from tests.kit import chat_rows, tiny_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_chat_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, and leave the signals as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    return tmp_path


def test_eval_prints_a_table_and_goes_on_with_what_is_there(
    folder: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat_rows(here / "rows.jsonl", 8)
    words = ["eval", folder, "--dataset", "rows.jsonl", "--max_tokens", "4"]
    assert main(words) == 0
    out = capsys.readouterr().out
    said = dict(line.split("  ", 1) for line in out.splitlines())
    assert said["rows"].strip() == "8"
    assert said["exact match"].strip() == "0.0%"
    assert said["95 % interval"].strip() == "0.0% to 32.4%"
    assert float(said["tokens per CPU s"]) > 0
    card = json.loads((here / "eval-rows/eval.json").read_text())
    assert card["tokens"] == int(said["tokens"]) == 32
    assert main(words) == 0
    again = capsys.readouterr()
    assert "8 of 8 rows were answered before" in again.err
    assert "CPU s" not in again.out, "nothing was measured"


def test_a_model_that_cannot_be_opened_leaves_nothing_behind(
    here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    chat_rows(here / "rows.jsonl", 2)
    model = str(tiny_chat_model(tmp_path_factory.mktemp("own"), kind="stablelm"))
    assert main(["eval", model, "--dataset", "rows.jsonl"]) == 2
    assert "its attention is its own" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]


def test_a_template_by_name_is_answered_with_and_goes_on_only_with_itself(
    folder: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat_rows(here / "rows.jsonl", 2)
    words = ["eval", folder, "--dataset", "rows.jsonl", "--max_tokens", "2"]
    assert main([*words, "--template", "default"]) == 0
    assert (
        json.loads((here / "eval-rows/eval.jsonl.meta.json").read_text())["template"] == "default"
    )
    capsys.readouterr()
    assert main(words) != 0
    assert "was made with other template" in capsys.readouterr().err


def test_without_a_dataset_only_our_own_model_is_asked(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", folder]) == 2
    assert "no --dataset says what to ask" in capsys.readouterr().err
    assert main(["eval", "nano", "--dataset", "nano-orders#2", "--max_tokens", "2"]) == 0
    assert json.loads(Path("eval-nano-orders-2/eval.json").read_text())["split"] == "validation"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eval", "nano", "--normal", "xml"], "--normal: `xml` is no way to compare"),
        (["infer", "nano", "--output", "x"], "--input or --dataset, one of them"),
        (["infer", "nano", "--input", "x"], "no --output"),
        (["infer", "nano", "--input", "x", "--output", "."], "is a folder"),
        (["infer", "nano", "--input", "nothere", "--output", "x"], "no data set `nothere`"),
        (["infer", "nano", "other", "--input", "x", "--output", "y"], "one model at a time"),
        (["infer", "nothere", "--input", "x", "--output", "y"], "no model `nothere`"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    words: list[str], says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_ctrl_c_keeps_whole_lines_and_ends_with_130(folder: str, here: Path) -> None:
    chat_rows(here / "rows.jsonl", 200)
    words = f"infer {folder} --input rows.jsonl --output out.jsonl --engine.max_batch 4"
    process = subprocess.Popen(
        [sys.executable, "-m", "swift", *words.split(), "--max_tokens", "60", "--ignore_eos"],
        stderr=subprocess.PIPE,
    )
    out = here / "out.jsonl"
    end = time.monotonic() + 120
    while not (out.is_file() and out.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith(b"interrupted\n") and b"Traceback" not in err
    made = out.read_text().splitlines()
    assert [json.loads(line)["index"] for line in made] == list(range(len(made)))
    assert 0 < len(made) < 200
