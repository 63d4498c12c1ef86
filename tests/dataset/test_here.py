"""What is at a path: a file, a folder, or what can be no data set, each said in words."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swift.core.errors import DataError, MachineError
from swift.dataset.sources import find, rows

ROWS = [{"query": f"q{i}", "response": f"r{i}"} for i in range(5)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with a file of rows and a folder of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIFT_HUB", f"file://{tmp_path}/hub")
    (tmp_path / "hub").mkdir()
    for path in (Path("mine.jsonl"), Path("folder/a.jsonl"), Path("data/talks.jsonl")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine.jsonl@x", "`mine.jsonl` is one file of this machine, which has no revision `x`"),
        ("mine.jsonl@x#2", "which has no revision `x`"),
        ("folder@v1", "`folder` is a folder of this machine, which has no revision `v1`"),
        (
            "talks@v1",
            "`talks` is data/talks.jsonl, one file of this machine, which has no revision",
        ),
        ("nano-orders@v1", "`nano-orders` is made by swift itself .*has no revision `v1`"),
        ("mine.jsonl:zz", "`mine.jsonl` is one file, which has no subsets such as `zz`"),
        ("mine.jsonl:zz#2", "which has no subsets such as `zz`"),
        ("talks:zz", "`talks` is data/talks.jsonl, one file, which has no subsets such as `zz`"),
        ("nano-orders:zz", "`nano-orders` is made by swift itself, which has no subsets"),
        ("folder:zz", "no subset `zz`"),
        ("HF::mine.jsonl", "no data set `mine.jsonl`: huggingface alone is asked; "),
    ],
)
def test_what_is_here_has_no_revision_and_a_file_no_subset(
    name: str, says: str, here: Path
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        find(name)
    assert all(problem.fix for problem in caught.value.problems)


def test_a_name_of_a_hub_that_is_a_folder_here_says_how_to_ask_the_hub(here: Path) -> None:
    (here / "Acme").mkdir()
    (here / "folder").rename(here / "Acme/talks")
    with pytest.raises(DataError, match="HF::Acme/talks@v1 is the hub's"):
        find("Acme/talks@v1")


def test_a_path_may_hold_an_at_sign_and_a_colon(here: Path) -> None:
    for name in ("mine.jsonl@x", "a:b.jsonl"):
        Path(name).mkdir()
        Path(name, "a.jsonl").write_text('{"text": "a"}\n')
        assert [raw.row for raw in rows(find(name))] == [{"text": "a"}]


def to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def to_nothing(path: Path) -> None:
    path.symlink_to("gone")


def to_a_device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (to_itself, r"x\.jsonl: it is a symbolic link that leads to itself(.|\n)*rm x\.jsonl"),
        (to_nothing, r"x\.jsonl: it is a symbolic link to gone, which is not there"),
        (os.mkfifo, r"x\.jsonl: it is a named pipe(.|\n)*cat x\.jsonl > rows\.jsonl"),
        (to_a_device, r"x\.jsonl: it is a device, and rows are read more than once"),
        (Path.mkdir, r"x\.jsonl is a folder without a file that is read \(\.jsonl, "),
    ],
)
def test_what_is_no_file_says_what_it_is(
    make: Callable[[Path], None], says: str, here: Path
) -> None:
    make(Path("x.jsonl"))
    for name in ("x.jsonl", "x.jsonl#3"):
        with pytest.raises(DataError, match=says):
            find(name)


def test_a_folder_may_be_called_as_a_file(here: Path) -> None:
    Path("folder").rename("x.jsonl")
    assert [raw.row for raw in rows(find("x.jsonl"))] == ROWS


def test_a_path_below_a_file_is_no_name_of_a_hub(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWIFT_HUB")
    with pytest.raises(DataError, match="it is no ORG/NAME"):
        find("mine.jsonl/a")


def test_a_file_that_is_gone_when_it_is_read_says_so(here: Path) -> None:
    source = find("mine.jsonl")
    Path("mine.jsonl").unlink()
    with pytest.raises(MachineError, match=r"mine\.jsonl: cannot be read: No such file(.|\n)*back"):
        list(rows(source))


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl#2"])
def test_a_file_that_may_not_be_read_says_how_it_may(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find(name)

    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MachineError, match=r"Permission denied\n.*chmod u\+rX mine\.jsonl"):
        list(rows(source))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", ""),
        ("x.jsonl", "\n \n\t\n"),
        ("x.json", "\n\n"),
        ("x.json", "[]"),
        ("x.csv", "query,response\n"),
        ("x.txt", "\n \n"),
    ],
)
def test_a_file_without_a_row_is_an_error_alone_and_a_note_among_others(
    name: str, text: str, here: Path
) -> None:
    Path(name).write_text(text)
    for asked in (name, f"{name}#3"):
        with pytest.raises(DataError, match=rf"{name}: the file (is empty|holds no row)"):
            list(rows(find(asked)))
    if name != "x.txt":
        Path(name).rename(Path("folder", name))
        notes = list[tuple[str, str]]()
        assert len(list(rows(find("folder"), note=lambda *said: notes.append(said)))) == len(ROWS)
        assert notes == [("empty-file", name)]
