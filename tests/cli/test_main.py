"""`swift`: verbs, exit codes, and how errors are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swift import __version__
from swift.cli import main as cli
from swift.core.errors import (
    DataError,
    Interrupted,
    MachineError,
    RecipeError,
    SwiftError,
    TrainingError,
)

type_of_act = Callable[[str, list[str]], int]


def acting(monkeypatch: pytest.MonkeyPatch, act: type_of_act) -> None:
    """Let every verb do `act`."""
    monkeypatch.setattr(cli, "_load", lambda place: act)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["-h"], ["--help"], ["help"]):
        assert cli.main(words) == 0
        out = capsys.readouterr().out
        assert all(f"\n  {verb} " in out for verb in cli.VERBS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"swift {__version__}\n"


def test_an_unknown_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "swift has no verb `trian`\n     fix: run `swift train`\n"
    assert cli.main(["zzz"]) == 2
    assert "fix: one of guide, demo, train, pt, sft, dpo" in capsys.readouterr().err


def test_a_verb_of_another_toolkit_is_told_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rollout", "--model", "nano"]) == 2
    said = "swift has no verb `rollout`\n     fix: run `swift serve MODEL --sync`\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_verb_has_its_function(verb: str) -> None:
    assert callable(cli._load(cli.VERBS[verb][1]))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RecipeError, 2),
        (DataError, 2),
        (MachineError, 3),
        (TrainingError, 4),
        (Interrupted, 130),
    ],
)
def test_an_error_is_told_in_words_and_gives_its_code(
    error: type[SwiftError],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act(verb: str, words: list[str]) -> int:
        raise error("the reason", fix="the repair")

    acting(monkeypatch, act)
    assert cli.main(["sft"]) == code
    assert capsys.readouterr() == ("", "the reason\n     fix: the repair\n")


def test_a_mistake_of_ours_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(verb: str, words: list[str]) -> int:
        raise KeyError("x")

    acting(monkeypatch, act)
    assert cli.main(["sft"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith(f"swift {__version__} made a mistake (KeyError)")


def test_control_c_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(verb: str, words: list[str]) -> int:
        raise KeyboardInterrupt

    acting(monkeypatch, act)
    assert cli.main(["sft"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_verb_gets_its_name_and_the_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def act(verb: str, words: list[str]) -> int:
        seen.append((verb, words))
        return 7

    acting(monkeypatch, act)
    assert cli.main(["dpo", "r.yaml", "--lr", "1"]) == 7
    assert seen == [("dpo", ["r.yaml", "--lr", "1"])]


def test_python_m_swift_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swift", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, f"swift {__version__}\n")
