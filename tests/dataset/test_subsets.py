"""Subsets and parts: which files of a folder a name means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift.core.errors import DataError
from swift.core.table import additions
from swift.dataset.names import Listed, datasets
from swift.dataset.sources import Source, find, rows


def place(path: Path, count: int = 3) -> Path:
    """Write rows that tell where they are from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": f"{path.name} {i}"}) + "\n" for i in range(count)))
    return path


def files(source: Source) -> list[str]:
    return [path.name for path in source.files]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SWIFT_HUB", f"file://{tmp_path}/hub")
    return tmp_path / "hub" / "datasets"


def test_parts_of_a_folder_are_told_apart_by_name_and_not_mixed(tmp_path: Path) -> None:
    names = ("train-00.jsonl", "train_01.jsonl", "validation.jsonl", "my.test.jsonl", "more.jsonl")
    for name in names:
        place(tmp_path / name)
    source = find(str(tmp_path))
    assert files(source) == ["more.jsonl", "train-00.jsonl", "train_01.jsonl"]
    assert {raw.origin.split(":")[0] for raw in rows(source, split="validation")} == {
        "validation.jsonl"
    }
    held = find(str(tmp_path), part="test")
    assert {raw.origin.split(":")[0] for raw in rows(held)} == {"my.test.jsonl"}


def test_parts_may_be_folders(tmp_path: Path) -> None:
    place(tmp_path / "train" / "a.jsonl")
    place(tmp_path / "dev" / "b.jsonl")
    assert files(find(str(tmp_path))) == ["a.jsonl"]
    assert list(find(str(tmp_path)).parts) == ["validation", "train"]


def test_a_file_that_is_named_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    assert files(find(str(place(tmp_path / "test.jsonl")))) == ["test.jsonl"]


def test_a_part_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    place(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"no part `test`; it has train"):
        find(str(tmp_path), part="test")


def test_two_parts_without_a_training_one_ask_which(tmp_path: Path) -> None:
    place(tmp_path / "test.jsonl")
    place(tmp_path / "dev.jsonl")
    with pytest.raises(DataError, match=r"no part `train`; it has validation, test\n.*split: val"):
        find(str(tmp_path))


@pytest.mark.parametrize("layout", ["{0}/train.jsonl", "data/{0}/a.jsonl", "{0}.jsonl"])
def test_a_subset_is_a_folder_or_a_files_name(layout: str, tmp_path: Path) -> None:
    for subset in ("zh", "en"):
        place(tmp_path / layout.format(subset))
    source = find(f"{tmp_path}:zh")
    assert [path.relative_to(tmp_path) for path in source.files] == [Path(layout.format("zh"))]
    assert len(list(rows(find(f"{tmp_path}:zh/en#4")))) == 4
    assert find(str(tmp_path), subset="zh").files == source.files
    with pytest.raises(DataError, match="has no subset `zz`"):
        find(f"{tmp_path}:zz")


def test_several_subsets_and_no_default_ask_which(tmp_path: Path) -> None:
    place(tmp_path / "zh" / "a.jsonl")
    place(tmp_path / "en" / "b.jsonl")
    with pytest.raises(DataError, match=r"several subsets: en, zh\n.*NAME:en"):
        find(str(tmp_path))
    assert files(find(f"{tmp_path}:all")) == ["b.jsonl", "a.jsonl"]


def test_a_card_says_which_files_a_subset_has(tmp_path: Path) -> None:
    card = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/t*st.jsonl
- config_name: more
  default: true
  data_files: "more/*.jsonl"
size_categories: many
---
# Words
"""
    (tmp_path / "README.md").write_text(card)
    for name in ("main/train-1.jsonl", "main/train-2.jsonl", "main/test.jsonl", "more/a.jsonl"):
        place(tmp_path / name)
    assert files(find(str(tmp_path))) == ["a.jsonl"]
    assert files(find(f"{tmp_path}:main")) == ["train-1.jsonl", "train-2.jsonl"]
    assert len(list(rows(find(f"{tmp_path}:main", part="test")))) == 3
    assert files(find(f"{tmp_path}:all")) == ["train-1.jsonl", "train-2.jsonl", "a.jsonl"]
    with pytest.raises(DataError, match=r"no subset `mian`; it has main, more\n.*write `main`"):
        find(f"{tmp_path}:mian")


@pytest.mark.parametrize("path", ["../other/*", "/etc/*", "a/../../b"])
def test_a_card_leads_nowhere_else(path: str, tmp_path: Path) -> None:
    place(tmp_path / "other" / "a.jsonl")
    card = f"---\nconfigs:\n- config_name: x\n  data_files: '{path}'\n---\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text(card)
    with pytest.raises(DataError, match="there is no data set"):
        find(str(tmp_path / "mine"))


def test_prose_beside_tables_is_no_data(tmp_path: Path) -> None:
    place(tmp_path / "a.jsonl")
    (tmp_path / "LICENSE.txt").write_text("words")
    assert files(find(str(tmp_path))) == ["a.jsonl"]
    (tmp_path / "a.jsonl").unlink()
    assert files(find(str(tmp_path))) == ["LICENSE.txt"]


def test_a_listed_subset_is_the_usual_one_and_has_its_columns(hub: Path) -> None:
    for subset in ("en", "zh"):
        path = hub / "swift/medical_zh" / subset / "train.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"instruction": "i", "input": "x", "output": "o"}) + "\n")
    found = [raw.row for raw in rows(find("medical_zh"))]
    assert found == [{"instruction": "i", "query": "x", "response": "o"}]
    found = [raw.row for raw in rows(find("MS::medical_zh:zh#1"))]
    assert found == [{"input": "x", "query": "i", "response": "o"}]


def test_another_way_to_read_the_same_files_is_a_subset_too(hub: Path) -> None:
    path = hub / "jxu124/refcoco/train.jsonl"
    path.parent.mkdir(parents=True)
    row = {"image_path": "a.jpg", "bbox": [1, 2, 3, 4], "captions": ["a cat"]}
    path.write_text(json.dumps(row))
    for subset, response in (("", "<bbox>"), (":caption", "a cat")):
        (raw,) = rows(find(f"refcoco{subset}"))
        assert raw.row is not None
        assert raw.row["response"] == response


def test_fewer_rows_than_asked_for_are_all_and_it_is_said(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    name = f"{place(tmp_path / 'a.jsonl', 20)}#99"
    found = list(rows(find(name), note=lambda *what: said.append(what)))
    assert len(found) == 20
    assert said == [("fewer-rows", f"{name}: it has 20")]


def test_every_row_is_as_likely_to_be_drawn(tmp_path: Path) -> None:
    source = find(f"{place(tmp_path / 'a.jsonl', 10)}#3")
    counts = dict.fromkeys(range(10), 0)
    for seed in range(600):
        for raw in rows(source, seed=seed):
            counts[int(raw.origin.split(":")[1]) - 1] += 1
    assert sum(counts.values()) == 1800
    assert all(130 < count < 230 for count in counts.values())  # 180, plus or minus 4.5 sigma


def test_an_empty_file_among_others_is_said(tmp_path: Path) -> None:
    place(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").touch()
    said: list[tuple[str, str]] = []
    assert len(list(rows(find(str(tmp_path)), note=lambda *what: said.append(what)))) == 3
    assert said == [("empty-file", "b.jsonl")]


def test_a_plug_ins_name_comes_before_data_here(hub: Path, tmp_path: Path) -> None:
    place(Path("data/mine.jsonl"))
    theirs = place(tmp_path / "theirs.jsonl")
    assert files(find("mine")) == ["mine.jsonl"]
    with pytest.raises(ZeroDivisionError), additions():  # which takes it out again
        datasets.add(Listed(name="mine", source=f"file:{theirs}"))
        assert find("mine").files == (theirs,)
        raise ZeroDivisionError


def test_data_here_comes_before_the_catalogue_and_may_be_packed(hub: Path) -> None:
    import gzip

    Path("data").mkdir()
    Path("data/gsm8k.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert [raw.row for raw in rows(find("gsm8k"))] == [{"text": "a"}]


def test_a_hubs_name_before_a_name_passes_over_what_is_here(hub: Path) -> None:
    place(Path("data/talks.jsonl"))
    theirs = place(hub / "Acme/talks/b.jsonl")
    assert find("HF::Acme/talks").files == (theirs,)
    assert files(find("talks")) == ["talks.jsonl"]
