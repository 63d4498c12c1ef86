"""A file is read as what it is, not as what its name says, and the difference is said."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from swift.core.errors import DataError
from swift.core.table import additions
from swift.dataset.raw import Raw
from swift.dataset.readers import Reader, readers
from swift.dataset.sources import find, rows

ROWS = [{"query": f"q{i}", "response": f"r好{i}"} for i in range(9)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
CSV = ("query,response\n" + "".join(f"{r['query']},{r['response']}\n" for r in ROWS)).encode()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def same(data: bytes) -> bytes:
    return data


def parquet(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


def arrow(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    feather.write_feather(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


def stream(data: bytes) -> bytes:
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def read(path: Path | str) -> tuple[list[Raw], list[tuple[str, str]]]:
    notes = list[tuple[str, str]]()
    return list(rows(find(str(path)), note=lambda *said: notes.append(said))), notes


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.jsonl", gzip.compress, "gzip"),
        ("a.jsonl", bz2.compress, "bzip2"),
        ("a.jsonl", lzma.compress, "xz"),
        ("a.jsonl", zstd, "zstandard"),
        ("a.jsonl.bz2", gzip.compress, "gzip"),
        ("a.json.gz", zstd, "zstandard"),
        ("a.jsonl.gz", same, "not packed"),
        ("a.jsonl.bz2", same, "not packed"),
        ("a.json.xz", same, "not packed"),
        ("a.ndjson.zst", same, "not packed"),
        ("a.jsonl", parquet, "Parquet"),
        ("a.csv.gz", parquet, "Parquet"),
        ("a.txt", parquet, "Parquet"),
        ("a.arrow", parquet, "Parquet"),
        ("a.parquet", arrow, "Arrow"),
        ("a.json", arrow, "Arrow"),
        ("a.jsonl", stream, "Arrow"),
    ],
)
@pytest.mark.parametrize("asked", ["", "#9"])
def test_a_file_is_read_as_what_it_is_and_that_is_said(
    asked: str, name: str, make: Callable[[bytes], bytes], says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(make(LINES))
    found, notes = read(f"{tmp_path / name}{asked}")
    assert [raw.row for raw in found] == ROWS
    assert notes == [("misnamed", f"{name} ({says})")]


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.jsonl.gz", gzip.compress), ("a.JSONL.ZST", zstd), ("a.feather", arrow), ("a.ipc", stream)],
)
def test_of_a_file_that_is_what_its_name_says_nothing_is_said(
    name: str, make: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(make(LINES))
    assert [raw.row for raw in read(tmp_path / name)[0]] == ROWS
    assert read(tmp_path / name)[1] == []


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b"PK\x03\x04" + b"\0" * 40, "it is a zip archive or an Office file, no rows"),
        ("a.csv", b"SQLite format 3\0", "it is a SQLite database"),
        ("a.txt", b"%PDF-1.7\n\xff", r"it is a PDF file(.|\n)*as \.txt"),
        ("a.jsonl", b"\x89PNG\r\n\x1a\n\0\0", r"a PNG picture(.|\n)*image_folder"),
        ("a.jsonl", b'{"text": "\0\xff"}', "it is no text: there are zero bytes in it"),
        ("a.parquet", LINES, r"says `\.parquet`, but it is text(.|\n)*a\.parquet \S+a\.jsonl"),
        ("a.arrow", CSV, r"but it is text(.|\n)*mv \S+a\.arrow \S+a\.csv"),
        ("a.feather", b' [{"a": 1}]', r"but it is text(.|\n)*mv \S+a\.feather \S+a\.json"),
        ("a.parquet", gzip.compress(LINES), r"packed as gzip(.|\n)*mv \S+ \S+a\.parquet\.gz"),
        ("a.jsonl.gz", b"\x1f\x8b\x07\0\xff", "its compression breaks"),
    ],
)
def test_what_is_not_read_says_what_it_is_and_what_to_do(
    name: str, data: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    for asked in ("", "#5"):
        with pytest.raises(DataError, match=says):
            read(f"{tmp_path / name}{asked}")


@pytest.mark.parametrize("text", ["BZh9 is how bzip2 begins", "PAR1 is how Parquet begins"])
def test_a_text_may_begin_like_another_kind(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    found, notes = read(tmp_path / "a.txt")
    assert [raw.row for raw in found] == [{"text": text}]
    assert notes == []


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
        "\ufeff\n[" + ",\n".join(map(json.dumps, ROWS)) + "]",
    ],
)
def test_a_list_called_lines_is_read_as_a_list(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    for asked in ("", "#9"):
        found, notes = read(f"{tmp_path / 'a.jsonl'}{asked}")
        assert [raw.row for raw in found] == ROWS
        assert notes == [("misnamed", "a.jsonl (a JSON list)")]


def test_a_broken_first_line_that_is_a_list_of_something_else_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"[1, 2]\n" + LINES)
    found, notes = read(tmp_path / "a.jsonl")
    assert [raw.trouble for raw in found[:2]] == ["broken-line", ""]
    assert (len(found), notes) == (10, [])


@pytest.mark.parametrize(
    ("name", "gap", "says"),
    [
        ("a.csv", ";", "separated by semicolons"),
        ("a.csv", "\t", "separated by tabs"),
        ("a.csv.gz", "|", "not packed, separated by bars"),
        ("a.tsv", ",", "separated by commas"),
    ],
)
def test_cells_are_separated_by_what_separates_the_names(
    name: str, gap: str, says: str, tmp_path: Path
) -> None:
    text = f'query{gap}response\n"a{gap} ""b""\nc"{gap}"d"\ne{gap}"f, g; h"\n'
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    found, notes = read(tmp_path / name)
    assert [raw.row for raw in found] == [
        {"query": f'a{gap} "b"\nc', "response": "d"},
        {"query": "e", "response": "f, g; h"},
    ]
    assert notes == [("misnamed", f"{name} ({says})")]


@pytest.mark.parametrize("head", ["a;b,c", "text", '"a;b"', "a b"])
def test_commas_separate_unless_the_header_has_only_another_sign(head: str, tmp_path: Path) -> None:
    cells = ",".join("1" for _ in head.split(","))
    (tmp_path / "a.csv").write_text(f"{head}\n{cells}\n")
    found, notes = read(tmp_path / "a.csv")
    assert [list(raw.row or ()) for raw in found] == [head.replace('"', "").split(",")]
    assert notes == []


def test_what_a_repair_says_mends_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for broken, trouble, mended, cells in (
        ("a,b,c", "ragged-row", '"a,b",c', ["a,b", "c"]),
        ("a", "ragged-row", "a,", ["a", ""]),
        ('"a"b,c', "stray-quote", '"""a""b",c', ['"a"b', "c"]),
    ):
        path.write_text(f"query,response\n{broken}\n")
        assert [raw.trouble for raw in read(path)[0]] == [trouble]
        path.write_text(f"query,response\n{mended}\n")
        assert [list((raw.row or {}).values()) for raw in read(path)[0]] == [cells]


def test_lines_that_an_open_quotation_mark_swallows_are_each_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('query,response\na,b\n"c,d\n' + "e,f\n" * 50)
    found, _ = read(tmp_path / "a.csv")
    assert [raw.origin for raw in found] == [f"a.csv:{line}" for line in range(2, 54)]
    assert [raw.trouble for raw in found] == ["", *["stray-quote"] * 51]


def test_json_called_a_table_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(LINES)
    with pytest.raises(DataError, match=r"the first line is JSON(.|\n)*\.jsonl"):
        read(tmp_path / "a.csv")


def test_a_plug_in_knows_its_own_files(tmp_path: Path) -> None:
    def of_zip(path: Path) -> list[Raw]:
        return [Raw(row={"text": "mine"}, origin=path.name)]

    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(ZeroDivisionError), additions():  # which takes it out again
        readers.add(Reader(suffix=".xlsx", read=lambda path: iter(of_zip(path))))
        assert [raw.row for raw in read(tmp_path / "a.xlsx")[0]] == [{"text": "mine"}]
        raise ZeroDivisionError
