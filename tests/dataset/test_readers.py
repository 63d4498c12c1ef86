"""Files of every kind: what is streamed, what is packed, what is broken, each in words."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.errors import DataError, MachineError
from swift.dataset.raw import Raw
from swift.dataset.readers import listed, suffixes
from swift.dataset.sources import find, rows

ROWS = [{"query": f"q{i}", "response": f"r好{i}"} for i in range(20)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


def read(path: Path, **options: Any) -> list[Raw]:
    return list(rows(find(str(path), **options)))


@pytest.mark.parametrize("packed", PACK)
def test_a_packed_file_gives_the_rows_that_are_inside(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl{packed}"
    path.write_bytes(PACK[packed](LINES))
    assert [raw.row for raw in read(path)] == ROWS


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt"])
def test_a_packed_file_that_is_cut_short_says_so(packed: str, suffix: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    noise = [{"text": str(draw.random())} for _ in range(5000)]
    text = json.dumps(noise) if suffix == ".json" else "\n".join(json.dumps(row) for row in noise)
    path = tmp_path / f"a{suffix}{packed}"
    data = PACK[packed](text.encode())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"its compression breaks(.|\n)*cut short"):
        read(path)


def test_a_table_of_columns_is_not_read_while_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(DataError, match="not read while it is packed"):
        find(str(path))


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".ipc"])
@pytest.mark.parametrize("kind", ["file", "stream", "feather"])
def test_arrow_is_read_as_file_and_as_stream(suffix: str, kind: str, tmp_path: Path) -> None:
    table, path = pa.Table.from_pylist(ROWS), tmp_path / f"a{suffix}"
    if kind == "feather":
        feather.write_feather(table, path)
    else:
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with path.open("wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    found = read(path)
    assert [raw.row for raw in found] == ROWS
    assert found[-1].origin == f"a{suffix}:20"


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
def test_half_a_table_says_so(suffix: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / f"a{suffix}"
    table = pa.Table.from_pylist(ROWS * 99)
    pq.write_table(table, path) if suffix == ".parquet" else feather.write_feather(table, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"no readable (Parquet|Arrow) file"):
        read(path)


def test_a_folder_of_save_to_disk_gives_what_it_lists(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS), test=datasets.Dataset.from_list(ROWS[:3])
    )
    made.save_to_disk(str(tmp_path / "both"))
    made["train"].save_to_disk(str(tmp_path / "one"), num_shards=3)
    assert [raw.row for raw in read(tmp_path / "both")] == ROWS
    assert [raw.row for raw in read(tmp_path / "both", part="test")] == ROWS[:3]
    assert [raw.row for raw in read(tmp_path / "one")] == ROWS


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1}, {"a": 2}]',
        ' \n[\n{"a": 1}\n,\n{"a": 2}\n]\n',
        '{"version": [1, {"x": "}"}], "data": [{"a": 1}, {"a": 2}], "end": null}',
        '{"a": 1}\n{"a": 2}\n',
        '\ufeff{"a": 1}\n\n{"a": 2}',
    ],
)
def test_a_json_file_is_a_list_a_map_with_data_or_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert [raw.row for raw in read(tmp_path / "a.json")] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"a": 1},\n{"a": 2}', r"a\.json:2: no JSON"),
        ('[{"a": 1},\n{"a": 2},]', r"a\.json:2: no JSON: a value should stand"),
        ('[{"a": 1}\n{"a": 2}]', r"a\.json:2: no JSON: `,` should stand here"),
        ('[{"a": 1}]\n\n[', r"a\.json:3: no JSON: something follows"),
        ('[{"a": "x\n"}]', r"a\.json:1: no JSON: Invalid control"),
        ('{"data": [{"a": 1}]', r"a\.json:1: no JSON"),
        ('{"data": {"a": 1}}', "neither a list"),
        ("{1: 2}", "a key in quotation marks"),
        ("17", "neither a list"),
        ("", "the file is empty"),
        (" ", "holds no row"),
    ],
)
def test_json_that_is_none_says_its_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "a.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_a_list_read_piece_by_piece_is_the_list(
    items: list[Any], piece: int, indent: int | None, ascii: bool
) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(listed, "_CHUNK", piece)
        path = Path(folder) / "a.json"
        path.write_bytes(text.encode("utf-8", "replace"))
        found = read(path) if items else []
    again = json.loads(text.encode("utf-8", "replace"))
    assert [raw.row for raw in found] == [i if isinstance(i, dict) else None for i in again]


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("", "the file is empty"),
        ("\n\n", "names no column"),
        (",,\n", "names no column"),
        ("query,query\n", "`query` stands twice"),
        ("1,2\n", "numbers only"),
        (f"what is this?,{'an answer ' * 30}\n", "more than 200 letters"),
    ],
)
def test_a_table_without_a_header_says_so(head: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(head)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "a.csv")


def test_a_ragged_row_or_a_stray_quote_is_a_reject_and_the_rest_is_read(tmp_path: Path) -> None:
    text = 'query,response\na,b\nc\nd,e,f\n"g"h,i\n"j\nk",l\nm,"n'
    (tmp_path / "a.csv").write_text(text)
    found = read(tmp_path / "a.csv")
    assert [(raw.origin, raw.row and raw.row["query"]) for raw in found] == [
        ("a.csv:2", "a"),
        ("a.csv:3", None),
        ("a.csv:4", None),
        ("a.csv:5", None),
        ("a.csv:6", "j\nk"),
        ("a.csv:8", None),
    ]


def test_a_line_of_a_table_in_another_encoding_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text\n好\n".encode() + b"\xff\nb\n")
    assert [raw.trouble for raw in read(tmp_path / "a.csv")] == ["", "not-utf-8", ""]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_two_bytes_a_letter_is_told(suffix: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes('{"text": "a"}\n'.encode(encoding))
    with pytest.raises(DataError, match=r":1: not UTF-8\n.*iconv -f UTF-(16|32)"):
        read(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt"])
def test_a_byte_order_mark_is_no_letter(suffix: str, tmp_path: Path) -> None:
    text = {".csv": "text\na", ".json": '[{"text": "a"}]', ".txt": "a"}
    path = tmp_path / f"a{suffix}"
    path.write_text(text.get(suffix, '{"text": "a"}'), encoding="utf-8-sig")
    assert [raw.row for raw in read(path)] == [{"text": "a"}]


def test_a_text_is_one_document_or_its_paragraphs_or_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n \nthree\n")
    for documents, texts in {
        "file": [("a.txt:1", "one\ntwo\n\n \nthree\n")],
        "paragraph": [("a.txt:1", "one\ntwo"), ("a.txt:5", "three")],
        "line": [("a.txt:1", "one"), ("a.txt:2", "two"), ("a.txt:5", "three")],
    }.items():
        found = read(path, documents=documents)
        assert [(raw.origin, raw.row and raw.row["text"]) for raw in found] == texts


def test_a_large_text_is_not_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (17 << 20))
    with pytest.raises(DataError, match=r"larger than 16 MiB(.|\n)*documents: paragraph"):
        read(path)


def test_a_missing_packed_file_is_told_as_any(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstd(LINES))
    source = find(str(path))
    path.unlink()
    with pytest.raises(MachineError, match="cannot be read: No such file"):
        list(rows(source))


@given(st.binary(max_size=200), st.sampled_from(suffixes()), st.sampled_from(["", *PACK]))
def test_any_bytes_in_any_file_packed_or_not_are_rows_or_a_data_error(
    data: bytes, suffix: str, packed: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, inside in (("as-is", data), ("packed", PACK.get(packed, bytes)(data))):
            path = Path(folder) / f"{name}{suffix}{packed}"
            path.write_bytes(inside)
            try:
                found = read(path)
            except DataError:
                continue
            assert all((raw.row is None) == bool(raw.trouble) for raw in found)


@given(st.text(alphabet='{}[]",:\\ \n1-.eutrasl\x00é', max_size=60), st.integers(1, 9))
def test_any_text_that_looks_like_json_ends(text: str, piece: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(listed, "_CHUNK", piece)
        path = Path(folder) / "a.json"
        path.write_text(text)
        try:
            found: list[Any] | None = [raw.row for raw in read(path)]
        except DataError:
            found = None
    try:
        said = json.loads(text)
    except ValueError:
        return
    if isinstance(said, list) and said:
        assert found == [item if isinstance(item, dict) else None for item in said]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".jsonl.gz", ".csv", ".parquet", ".arrow"])
def test_a_file_of_many_rows_takes_no_more_memory_than_one_of_few(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    _write_large(path)
    script = (
        "import re, sys\n"
        "from swift.dataset.sources import find, rows\n"
        "import pyarrow, pyarrow.parquet, pyarrow.ipc\n"
        "source = find(sys.argv[1] + '#100')\n"
        "status = lambda: open('/proc/self/status').read()\n"  # ru_maxrss outlives an exec
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status())[1]) >> 10\n"
        "before = peak()\n"
        "assert sum(1 for _ in rows(source)) == 100\n"
        "print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 45  # MiB, of 50; twice as much where all rows are held


def _write_large(path: Path) -> None:
    """Write about 50 MiB of rows."""
    count, text = 50_000, "x" * 1000
    if path.suffix in (".parquet", ".arrow"):
        import pyarrow.parquet as pq

        numbers = [f"{i} {text}" for i in range(count)]
        table = pa.table({"text": numbers})
        if path.suffix == ".parquet":
            pq.write_table(
                table, path, row_group_size=5000, compression="none", use_dictionary=False
            )
        else:
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=1000)
        return
    lines = (json.dumps({"text": f"{i} {text}"}) for i in range(count))
    if path.suffix == ".csv":
        path.write_text("text,number\n" + "".join(f"{text},{i}\n" for i in range(count)))
    elif path.suffix == ".json":
        path.write_text("[" + ",".join(lines) + "]")
    else:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt") as file:
            file.writelines(line + "\n" for line in lines)
