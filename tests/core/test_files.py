"""Files and folders are seen whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from swift.core import files
from swift.core.errors import MachineError, WriteError


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    files.write_text(path, "old")
    files.write_text(path, "新しい")
    assert path.read_text(encoding="utf-8") == "新しい"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_new_file_has_the_permissions_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plan.json"
    files.write_text(path, "old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left on device\n     fix: free some space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    final = tmp_path / "checkpoint-1"
    with files.whole_folder(final) as folder:
        (folder / "a").write_text("1")
        assert not final.exists()
    assert (final / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_folder_whose_making_failed_never_appears(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "c") as folder:
        (folder / "a").write_text("1")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_not_in_the_next_folder(tmp_path: Path) -> None:
    making = files.whole_folder(tmp_path / "c")
    (making.__enter__() / "stale").touch()
    with files.whole_folder(tmp_path / "c") as folder:
        (folder / "fresh").touch()
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["fresh"]
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_full_folder_is_never_replaced(tmp_path: Path) -> None:
    final = tmp_path / "c"
    final.mkdir()
    (final / "precious").touch()
    with pytest.raises(MachineError, match="cannot write"), files.whole_folder(final):
        pass
    assert (final / "precious").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_folder_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    files.probe(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MachineError, match="cannot write"):
        files.probe(tmp_path / "absent")
    with pytest.raises(MachineError, match="cannot write"):
        files.probe(Path("/proc"))


def test_a_disk_that_is_full_is_known_at_once_and_keeps_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WriteError, match="File too large"):
            files.probe(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [*tmp_path.iterdir()] == []


def test_free_bytes_of_a_folder_yet_to_be_made_are_its_parents(tmp_path: Path) -> None:
    assert files.free_bytes(tmp_path / "a" / "b") > 0


def test_two_who_write_one_folder_do_not_spoil_each_other(tmp_path: Path) -> None:
    """The first to end wins; the other is told."""
    final = tmp_path / "out"
    with pytest.raises(MachineError, match="cannot write"), files.whole_folder(final) as mine:
        (mine / "a").write_text("mine")
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "a").write_text("theirs")
        theirs.rename(final)
    assert (final / "a").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_dead_process_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".aside-out-{dead.pid}").mkdir()
    (tmp_path / f".aside-out-{os.getppid()}").mkdir()
    with files.whole_folder(tmp_path / "out"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".aside-out-{os.getppid()}", "out"]
