"""`swift check`: what it says, in words, in JSON and as a picture, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from swift.cli.bars import blocks, svg
from swift.cli.main import main
from swift.recipe import read
from swift.run import needs
from swift.run.check import check
from tests.kit import chat_rows


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    chat_rows(tmp_path / "rows.jsonl", 60)
    text = "model: nano\ndataset: rows.jsonl\noutput_dir: out\ntrain: {max_steps: 2}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def test_a_good_run_is_told_in_figures(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(recipe), "--samples", "1"]) == 0
    told = capsys.readouterr().out
    assert "train: 60 samples of 60 rows" in told
    assert "█" in told
    assert "rows.jsonl:1  (⟦trained⟧, not trained)" in told
    assert "<|im_start|>assistant\n  ⟦" in told
    assert all(f"\n{name}: " in told for name in ("memory", "disk", "steps", "time"))
    assert told.endswith("nothing speaks against this run; 0 warnings\n")
    assert not (recipe.parent / "out").exists()


def test_trained_and_untrained_tokens_have_colours_where_there_are_colours(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["check", str(recipe), "--samples", "1"]) == 0
    told = capsys.readouterr().out
    assert "\x1b[2m<|im_start|>user" in told
    assert "\x1b[1;32m" in told
    assert "⟦" not in told


def test_a_wasted_run_ends_with_2_and_says_why(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (recipe.parent / "rows.jsonl").open("a") as file:
        file.write("{\n" * 70)
    assert main(["check", str(recipe)]) == 2
    told = capsys.readouterr().out
    assert "failure: 70 of 130 rows are rejected\n     fix: write one JSON object a line" in told
    assert told.endswith("this run would be wasted: 1 failure, 1 warning\n")


def test_a_full_disk_is_the_machines(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "free", lambda plan: 0)
    assert main(["check", str(recipe)]) == 3


def test_programs_get_json_also_of_what_fails(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(recipe), "--json", "--samples", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["data"]["train"]["rows"] == 60
    assert sum(count for _, _, count in told["data"]["train"]["lengths"]["bins"]) == 60
    assert any(part["trained"] for part in told["samples"][0]["parts"])
    assert main(["check", str(recipe), "--json", "--tuner.rnak", "4"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert "rnak" in told["problems"][0]["what"]


def test_the_picture_is_svg(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(recipe), "--picture", "check.svg"]) == 0
    root = ET.parse(recipe.parent / "check.svg").getroot()
    assert root.tag.endswith("svg")
    assert main(["check", str(recipe), "--picture", "check.bmp"]) == 2
    assert "no name of an SVG file" in capsys.readouterr().err


def test_the_tokens_are_kept_for_the_run(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(recipe.parent / "cache"))
    assert main(["check", str(recipe)]) == 0
    monkeypatch.setattr("swift.run.data.encode", lambda *args, **more: pytest.fail("once more"))
    assert main(["check", str(recipe)]) == 0


def test_a_streamed_run_is_checked_whole(recipe: Path) -> None:
    said = read(recipe, [("data.streaming", True)], "sft")
    assert check(said, say=lambda text: None).reports["train"].samples == 60


def test_a_check_loads_no_torch(recipe: Path) -> None:
    script = "import sys; from swift.cli.main import main; main(['check', 'recipe.yaml']); "
    script += "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_blocks_are_as_long_as_there_are_samples() -> None:
    assert blocks([(0, 9, 0), (10, 19, 8), (20, 29, 4), (30, 39, 1)], width=2) == [
        "10-19  ██ 8",
        "20-29  █ 4",
        "30-39  ▎ 1",
    ]
    assert blocks([]) == []
    assert "</svg>" in svg([], title="<none>", limit=9)


def test_the_trained_numbers_of_an_adapter_are_those_that_training_counts() -> None:
    """`swift sft` says 81,920 of the embedded model with rank 8."""
    from swift.plan import resolve

    plan = resolve(read(None, [("model", "nano")], "sft"))
    assert needs.trained(plan, needs.shape_of(plan)) == 81_920


@pytest.mark.parametrize("said", ["x", "-1", "1.5"])
def test_a_number_of_samples_is_a_number(
    said: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(recipe), "--samples", said]) == 2
    assert f"--samples: `{said}` is no whole number from 0" in capsys.readouterr().err
