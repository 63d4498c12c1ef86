"""The environment is read in one place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swift.core import env


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert env.ranks() == env.Ranks(rank=0, local_rank=0, world=1, run_id="")


def test_torchrun_says_who_this_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "abc"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    agent = os.getppid()
    assert env.ranks() == env.Ranks(rank=3, local_rank=1, world=4, run_id="abc", agent=agent)


def test_the_cache_stands_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("SWIFT_CACHE", raising=False)
    assert env.cache_home() == Path("/x/swift")
    monkeypatch.setenv("SWIFT_CACHE", "/y")
    assert env.cache_home() == Path("/y")


def test_the_spare_folder_is_the_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = env.spare_home()
    assert (env.spare_home(), first.stat().st_mode & 0o777) == (first, 0o700)
    first.chmod(0o777)  # so that others could put a model there
    assert env.spare_home() != first
    first.rmdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    first.symlink_to(tmp_path / "theirs")
    assert env.spare_home().parent == tmp_path
    assert env.spare_home() not in (first, tmp_path / "theirs")


@pytest.mark.parametrize(
    ("said", "terminal", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colour_follows_the_terminal_and_the_users_word(
    said: dict[str, str], terminal: bool, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert env.colours(terminal=terminal) is coloured


@pytest.mark.parametrize(
    ("said", "language"), [("zh_CN.UTF-8", "zh"), ("de_DE.UTF-8", "en"), ("C", "en")]
)
def test_the_language_is_the_locales(
    said: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SWIFT_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", said)
    assert env.language() == language
