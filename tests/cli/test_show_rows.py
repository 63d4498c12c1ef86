"""`swift show dataset FILE` says what is in files, and ends in words for whatever is none."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swift.cli.main import main
from swift.dataset import look

ROWS = [{"instruction": f"Name {i}.", "input": "", "output": f"It is {i}."} for i in range(300)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def seen(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    assert main(["show", "dataset", name, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_file_tells_its_kind_rows_columns_format_and_first_sample(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(LINES))
    found = seen(capsys, "a.jsonl.gz#5")
    assert found.pop("size").endswith("B")
    assert found == {
        "dataset": "a.jsonl.gz#5",
        "kind": "jsonl packed as gzip",
        "rows": 300,
        "columns": ["instruction", "input", "output"],
        "format": ["alpaca (instruction, input, output)"],
        "sample": "user: Name 0.\nassistant: It is 0.",
    }


def test_a_folder_tells_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").mkdir()
    for name in ("train-1.jsonl", "train-2.jsonl", "test.jsonl"):
        Path("data", name).write_bytes(LINES)
    for name in ("data", "./data"):
        found = seen(capsys, name)
        assert found["files"] == ["test 1", "train 2"]
        assert found["rows"] == 600


def test_a_name_under_data_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").mkdir()
    Path("data/talks.csv").write_text("query;response\na;b\n")
    found = seen(capsys, "talks")
    assert (found["kind"], found["rows"]) == ("csv", 1)
    assert found["notes"] == "misnamed: talks.csv (separated by semicolons)"


def test_pairs_are_told_and_a_long_text_is_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"query": "a", "response": "b " * 400, "rejected_response": "c"}
    Path("a.jsonl").write_text(json.dumps(row) + "\n{broken\n")
    found = seen(capsys, "a.jsonl")
    assert any(line.endswith(" for pairs") or "rejected" in line for line in found["format"])
    assert "…" in found["sample"]
    assert found["notes"] == "broken-line: 1 of the first 2 rows"


def test_rows_that_are_no_formats_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.jsonl").write_text('{"colour": "red"}\n')
    found = seen(capsys, "a.jsonl")
    assert "format" not in found
    assert "'colour' are no format's" in found["notes"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_rows_of_a_large_file_are_estimated_by_its_beginning(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_SMALL", 1000)
    monkeypatch.setattr(look, "_PIECE", 4000)
    text = {"a.jsonl": LINES.decode(), "a.json": json.dumps(ROWS, indent=1)}
    table = "instruction,output\n" + "".join(f'"Name\n{i:03}.",It is.\n' for i in range(300))
    Path(name).write_text(text.get(name, table))
    found = seen(capsys, name)
    assert "rows" not in found
    assert 270 <= found["rows about"] <= 330


def test_a_large_packed_file_is_not_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_SMALL", 1000)
    Path("a.jsonl.gz").write_bytes(gzip.compress(LINES))
    assert not {"rows", "rows about"} & set(seen(capsys, "a.jsonl.gz"))


def nothing(path: Path) -> None:
    pass


def unreadable(path: Path) -> None:
    path.write_bytes(b"PAR1" + b"\0" * 40 + b"PAR1")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, "is no file and no folder with data files"),
        (lambda p: p.symlink_to(p.name), "a symbolic link that leads to itself"),
        (os.mkfifo, "it is a named pipe"),
        (Path.mkdir, "is a folder without a file that is read"),
        (lambda p: p.symlink_to("/dev/zero"), "it is a device"),
        (Path.touch, "the file is empty"),
        (lambda p: p.write_text("\n\n"), "the file holds no row"),
        (lambda p: p.write_bytes(b"PK\x03\x04"), "a zip archive"),
        (lambda p: p.write_bytes('{"a": 1}'.encode("utf-16")), "not UTF-8"),
        (unreadable, "no readable Parquet"),
    ],
)
def test_what_is_no_data_ends_in_words(
    make: Callable[[Path], object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("x.jsonl"))
    assert main(["show", "dataset", "x.jsonl"]) in (2, 3)
    out, err = capsys.readouterr()
    assert says in err
    assert out == ""


def test_a_file_that_may_not_be_read_ends_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("x.jsonl").write_bytes(LINES)

    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["show", "dataset", "x.jsonl"]) == 3
    assert "chmod u+rX x.jsonl" in capsys.readouterr().err
