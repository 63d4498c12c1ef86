"""Where rows come from, and what a bad file is answered with."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.errors import DataError, MachineError
from swift.dataset.readers import suffixes
from swift.dataset.sources import Raw, find, rows

ROWS = [{"query": f"q{i}", "response": f"r{i}"} for i in range(20)]


def write(path: Path) -> Path:
    """Write ROWS in the format of the path's suffix."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"data": ROWS} if "map" in path.name else ROWS))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        gap = "\t" if path.suffix == ".tsv" else ","
        path.write_text(
            "".join(f"{gap.join(r)}\n" for r in [list(ROWS[0]), *(r.values() for r in ROWS)])
        )
    return path


def read(name: str, **options: int) -> list[Raw]:
    return list(rows(find(name), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "map.json", "a.csv", "a.tsv", "a.parquet"])
def test_every_kind_of_file_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    found = read(str(write(tmp_path / name)))
    assert [r.row for r in found] == ROWS
    assert found[0].origin.startswith(name + ":")


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.jsonl", "notes.md"):
        write(tmp_path / name)
    assert [r.origin.split(":")[0] for r in read(str(tmp_path))] == ["a.jsonl"] * 20 + [
        "b.csv"
    ] * 20


def test_a_name_is_found_under_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "mine.jsonl")
    monkeypatch.chdir(tmp_path)
    assert len(read("mine")) == 20


def test_a_draw_depends_on_the_seed_alone(tmp_path: Path) -> None:
    name = f"{write(tmp_path / 'a.jsonl')}#7"
    first = [r.origin for r in read(name, seed=1)]
    assert first == [r.origin for r in read(name, seed=1)]
    assert first != [r.origin for r in read(name, seed=2)]
    assert len(first) == 7
    assert first == sorted(first, key=lambda o: int(o.split(":")[1]))


def test_more_than_there_are_is_all(tmp_path: Path) -> None:
    assert len(read(f"{write(tmp_path / 'a.jsonl')}#99")) == 20


def test_a_broken_line_is_a_named_reject_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + "{broken\n[1, 2]\n" + json.dumps(ROWS[0]))
    found = read(str(path))
    assert [(r.trouble, r.origin) for r in found if r.row is None] == [
        ("broken-line", "a.jsonl:21"),
        ("broken-line", "a.jsonl:22"),
    ]
    assert len(found) == 23


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.json", b'[{"a": 1},\n{]', r"a\.json:2: no JSON"),
        ("a.json", b'{"rows": []}', "neither a list"),
        ("deep.json", b"[" * 100_000, "nested too deeply"),
        ("long.json", b"[" + b"9" * 5000 + b"]", "a number of thousands of digits"),
        ("a.jsonl", b"{}\n" * 5000 + "你好".encode("gb18030"), r"a\.jsonl:5001: not UTF-8"),
        ("a.csv", b"text\na\n\xff\n", r"a\.csv:3: not UTF-8"),
        ("a.json", '["你好"]'.encode("utf-16"), "a.json:1: not UTF-8\n.*iconv -f UTF-16"),
        ("a.parquet", b"PAR1nonsense", "no readable Parquet"),
        ("a.xlsx", b"", "no kind of file that is read"),
    ],
)
def test_a_bad_file_says_where(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=says):
        read(str(tmp_path / name))


def test_an_unknown_name_lists_where_it_was_looked_for() -> None:
    with pytest.raises(
        DataError, match=r"there is no data/nano-order\.\*.*\n.*write `nano-orders`"
    ):
        find("nano-order")


def test_a_count_must_be_a_count(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="after # comes a number"):
        find(f"{write(tmp_path / 'a.jsonl')}#many")


def test_a_parquet_file_that_breaks_inside_says_at_which_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    data = bytearray(path.read_bytes())
    data[8:60] = b"\xff" * 52
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet:1: no readable Parquet"):
        read(str(path))


def test_a_parquet_value_that_python_cannot_hold_says_at_which_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    late = pa.array([2**62], pa.timestamp("us"))
    twice = pa.StructArray.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    for column in (late, twice):
        pq.write_table(pa.table({"text": ["a"], "more": column}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"a\.parquet:1: no readable Parquet"):
            read(str(tmp_path / "a.parquet"))


def test_one_line_of_another_encoding_is_a_reject_in_a_file_known_to_be_utf8(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "你好"}\n'.encode() + b'{"text": "\xff"}\n{"text": "b"}\n')
    assert [r.trouble for r in read(str(path))] == ["", "not-utf-8", ""]


def test_a_document_in_a_table_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x" * 200_000 + "\n")
    assert [len(r.row["text"]) for r in read(str(path)) if r.row] == [200_000]


def test_a_path_may_hold_a_hash_sign_and_capitals(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl").rename(tmp_path / "run#3.JSONL")
    assert len(read(str(path))) == 20
    assert len(read(f"{path}#5")) == 5


def test_hidden_files_of_a_folder_are_not_data(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    write(tmp_path / ".a.jsonl")
    assert len(read(str(tmp_path))) == 20


def test_a_tilde_before_no_users_name_is_a_letter() -> None:
    with pytest.raises(DataError, match="there is no data set `~nobody-of-that-name/x`"):
        find("~nobody-of-that-name/x")


def test_a_name_longer_than_any_path_is_simply_not_there() -> None:
    with pytest.raises(DataError, match="there is no data set"):
        find("a" * 5000)


def test_a_file_that_may_not_be_read_is_the_machines_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find(str(write(tmp_path / "a.jsonl")))

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MachineError, match=r"a\.jsonl: cannot be read: Permission denied"):
        list(rows(source))


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n\xff')  # the end would raise
    assert next(rows(find(str(path)))).row == {"text": "a"}


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=4))
def test_any_line_of_bytes_is_a_row_or_a_named_reject(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(b"\n".join(['{"text": "好"}'.encode(), *lines]))
        found = read(str(path))
    assert all((r.row is None) == bool(r.trouble) for r in found)
    said = [b"first", *lines]
    assert len(found) == sum(bool(line.strip()) for line in said)


@given(st.binary(max_size=60), st.sampled_from(suffixes()))
def test_any_bytes_in_any_file_end_as_rows_or_a_data_error(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(data)
        try:
            found = read(str(path))
        except DataError:
            return
    assert all((r.row is None) == bool(r.trouble) for r in found)


@pytest.mark.parametrize("name", ["#5", " #5", "#"])
def test_a_number_of_no_data_set_reads_no_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "x"}\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="names no data set"):
        find(name)
