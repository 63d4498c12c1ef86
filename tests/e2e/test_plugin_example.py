"""examples/plugin: a structure of its own is trained, saved, reloaded, merged and served."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
SCORE = ("--score", "same_length", "--max_tokens", "8")
PLUGIN = ("--plugins", "./swift_ripple")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example in which its model has been trained."""
    folder = tmp_path_factory.mktemp("plugin") / "copy"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    told(folder, "ripple-init", "ripple", *PLUGIN)
    told(folder, "sft", "recipe.yaml")
    return folder


def swift(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "swift", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def told(folder: Path, *words: str) -> str:
    done = swift(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in events(run) if event["event"] == "step"]


@pytest.mark.slow
def test_the_made_up_structure_learns(place: Path) -> None:
    said = losses(place / "runs" / "ripple")
    assert said[-1] < said[0] - 0.5


@pytest.mark.slow
def test_a_run_knows_its_plug_ins_from_any_folder(place: Path, tmp_path: Path) -> None:
    words = ("--message", "1 + 2", "--max_tokens", "4")
    assert told(place, "chat", "runs/ripple", *words) == told(
        tmp_path, "chat", str(place / "runs" / "ripple"), *words
    )


@pytest.mark.slow
def test_merged_it_answers_as_with_its_adapter_and_is_served(place: Path) -> None:
    words = ("--message", "3 + 4", "--max_tokens", "4")
    adapted = told(place, "chat", "runs/ripple", *words)
    merged = told(place, "merge", "runs/ripple").split()[-1]
    assert told(place, "chat", merged, *PLUGIN, *words) == adapted
    command = [sys.executable, "-m", "swift", "serve", merged, "--port", "0", *PLUGIN]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for line in server.stdout for word in line.split() if "http" in word)
            asked = {"messages": [{"role": "user", "content": "3 + 4"}], "max_tokens": 4}
            request = urllib.request.Request(
                url.rstrip("/").removesuffix("/v1") + "/v1/chat/completions",
                json.dumps({**asked, "temperature": 0}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                said = json.load(answer)["choices"][0]["message"]["content"]
        finally:
            server.terminate()
    assert said == adapted.removesuffix("\n")


@pytest.mark.slow
def test_its_tuner_and_its_score_are_used_as_ours_are(place: Path) -> None:
    words = ("--max_steps", "2", "--output_dir", "runs/norms", "--tuner", "{name: norms}")
    told(place, "sft", "recipe.yaml", *words)
    (said,) = [e for e in events(place / "runs" / "norms") if e["event"] == "start"]
    assert said["trainable"] == 5 * 2 * 64  # two norms in each of two layers and the last, w and b
    found = told(place, "eval", "runs/ripple", "--dataset", "ripple-sums#20", *SCORE)
    assert "same length" in found


@pytest.mark.slow
def test_without_the_plug_in_the_model_is_refused_in_words(place: Path) -> None:
    done = swift(place, "chat", "ripple", "--message", "x")
    assert done.returncode == 2
    assert "ripple" in done.stderr
    assert "--plugins" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_all_it_adds_is_listed_and_hinted_at(place: Path) -> None:
    listed = told(place, "plugins", "./swift_ripple")
    for line in ("structure: ripple", "wire: ripple", "verb: ripple-init", "score: same_length"):
        assert line in listed
    assert "ripple-tiny" in told(place, "list", "models", "--family", "ripple", *PLUGIN)
    assert "ripple-sums" in told(place, "list", "datasets", *PLUGIN)
    assert "ripple-lora" in told(place, "sft", "--help", *PLUGIN)
    assert "write `ripple-lora`" in swift(place, "sft", "--tuner", "riple-lora", *PLUGIN).stderr
    assert "`ripple-sums`" in swift(place, "sft", "--dataset", "riple-sums", *PLUGIN).stderr
