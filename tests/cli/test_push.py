"""`swift push` on the command line: what it says, what it refuses, and a folder as a hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swift.cli.main import main

ROWS = '{"messages": [{"role": "user", "content": "a"}]}\n' * 2


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that SWIFT_HUB names."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setenv("SWIFT_HUB", folder.as_uri())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    return folder


def test_a_data_set_that_was_pushed_into_a_folder_is_found_by_name(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from swift.dataset.sources import find, rows

    assert main(["push", "rows.jsonl", "me/rows"]) == 0
    assert capsys.readouterr().out.strip() == (hub / "datasets" / "me" / "rows").as_uri()
    assert len(list(rows(find("me/rows")))) == 2


def test_a_second_push_into_a_folder_adds_and_keeps(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["push", "rows.jsonl", "me/rows"])
    there = hub / "datasets" / "me" / "rows"
    (there / "README.md").write_text("by hand")
    (there / "more.jsonl").write_text(ROWS)
    Path("rows.jsonl").write_text(ROWS * 2)
    capsys.readouterr()
    assert main(["push", "rows.jsonl", "ME/rows"]) == 0
    assert "README.md stays" in capsys.readouterr().err
    assert (there / "README.md").read_text() == "by hand"
    assert (there / "more.jsonl").read_text() == ROWS
    assert (there / "rows.jsonl").read_text() == ROWS * 2
    assert sorted(p.name for p in there.parent.iterdir()) == ["rows"]


def test_a_push_that_was_killed_between_two_renames_is_mended(hub: Path) -> None:
    main(["push", "rows.jsonl", "me/rows"])
    there = hub / "datasets" / "me" / "rows"
    (there / "more.jsonl").write_text(ROWS)
    there.rename(there.with_name(".rows.before"))
    assert main(["push", "rows.jsonl", "me/rows"]) == 0
    assert (there / "more.jsonl").read_text() == ROWS
    assert sorted(p.name for p in there.parent.iterdir()) == ["rows"]


def test_of_two_pushes_at_once_one_wins_whole(hub: Path) -> None:
    """Each copies and exchanges; the folder has all files of one, never some of each."""
    for who in ("a", "b"):
        Path(who).mkdir()
        for number in range(60):
            Path(who, f"part{number}.jsonl").write_text(ROWS.replace("user", who))
    for _ in range(3):
        words = [sys.executable, "-m", "swift", "push"]
        both = [
            subprocess.Popen([*words, who, name], stderr=subprocess.PIPE)
            for who, name in (("a", "me/Race"), ("b", "me/race"))
        ]
        assert [(one.communicate(), one.returncode)[1] for one in both] == [0, 0]
        (there,) = (hub / "datasets" / "me").iterdir()
        texts = {path.read_text() for path in there.glob("part*.jsonl")}
        assert len(texts) == 1


def test_a_dry_run_prints_the_page_and_writes_nothing(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "rows.jsonl", "me/rows", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "2 rows with `messages`." in out
    assert "rows.jsonl  README.md" in err
    assert not list(hub.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rows.jsonl"], "give a source and a name"),
        (["rows.jsonl", "rows"], "OWNER/rows"),
        (["rows.jsonl", "me/rows", "--type", "space"], "`space` is no type"),
        (["rows.jsonl", "me/rows", "--publik"], "no flag `--publik`"),
        (["rows.jsonl", "me/rows", "--hub", "github"], "there is no hub `github`"),
        (["rows.jsonl", "me/rows", "--revision", "v1"], "has no branches"),
        (["gone", "me/rows"], "no file and no folder `gone`"),
        (["rows.jsonl", "../me/rows"], "no name that a hub can have"),
        (["rows.jsonl", f"{'x' * 300}/{'y' * 300}"], "longer than any name that a hub can have"),
        (["rows.jsonl", "me/rows", "--revision", "v" * 300], "longer than any revision"),
        ([f"{'x' * 300}/{'y' * 300}", "me/rows"], "no file and no folder"),
        (["~" + "x" * 9, "me/rows"], "no file and no folder"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_written(
    hub: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["push", *words]) == 2
    out, err = capsys.readouterr()
    assert says in err and "fix:" in err and not out
    assert not list(hub.iterdir())


def test_what_it_would_do_is_said_without_torch(hub: Path) -> None:
    code = """
import sys
from swift.cli.main import main
main(["push", "rows.jsonl", "me/rows", "--dry-run"])
assert not {"torch", "transformers", "huggingface_hub"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
