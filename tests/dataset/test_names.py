"""What a data set's name leads to: the catalogue, then the hub; each miss is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift.core.errors import DataError, UserError
from swift.dataset.sources import find, rows

ROWS = [{"instruction": f"i{i}", "input": "", "output": f"o{i}"} for i in range(9)]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a hub's folder of data sets, from a working directory that holds none."""
    place(tmp_path / "hub/datasets/AI-ModelScope/alpaca-gpt4-data-en/train.jsonl")
    place(tmp_path / "hub/datasets/llm-wizard/alpaca-gpt4-data-zh/data/rows.json")
    place(tmp_path / "hub/datasets/Acme/talks/a.jsonl")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SWIFT_HUB", f"file://{tmp_path}/hub")
    return tmp_path / "hub" / "datasets"


def place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_text(lines if path.suffix == ".jsonl" else json.dumps(ROWS))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "alpaca-gpt4",
        "Alpaca-GPT4",
        "AI-ModelScope/alpaca-gpt4-data-en",
        "ai-modelscope/Alpaca-gpt4-data-EN",
        "vicgalle/alpaca-gpt4",
        "alpaca-gpt4-data-en",
        "alpaca-zh",
        "AI-ModelScope/alpaca-gpt4-data-zh",
    ],
)
def test_every_spelling_of_a_catalogue_name_finds_its_rows(hub: Path, name: str) -> None:
    assert [raw.row for raw in rows(find(name))] == ROWS
    assert len(list(rows(find(f"{name}#4")))) == 4


@pytest.mark.parametrize("name", ["Acme/talks", "acme/TALKS", "talks"])
def test_a_data_set_of_the_hub_needs_no_catalogue(hub: Path, name: str) -> None:
    assert find(name).files == (hub / "Acme/talks/a.jsonl",)


def test_data_here_wins_over_the_hub(hub: Path) -> None:
    mine = place(Path("data/talks.jsonl"))
    assert find("talks").files == (mine,)


def test_only_the_training_part_is_read_where_there_are_parts(hub: Path) -> None:
    for name in ("train-2.jsonl", "train-1.jsonl", "test.jsonl"):
        place(hub / "Acme/parts" / name)
    assert [path.name for path in find("Acme/parts").files] == ["train-1.jsonl", "train-2.jsonl"]


def test_a_hubs_own_cards_are_no_rows(hub: Path) -> None:
    (hub / "Acme/talks/dataset_infos.json").write_text("{}")
    assert [path.name for path in find("Acme/talks").files] == ["a.jsonl"]


def test_a_name_of_two_organisations_asks_which(hub: Path) -> None:
    place(hub / "Other/talks/b.jsonl")
    with pytest.raises(UserError, match=r"Acme/talks, Other/talks\n.*write `Acme/talks`"):
        find("talks")


def test_a_folder_outside_any_organisation_goes_by_its_name(hub: Path) -> None:
    mine = place(hub / "talks/b.jsonl")
    assert find("talks").files == (mine,)


def test_a_known_name_offline_says_each_place_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    with pytest.raises(DataError) as caught:
        find("alpaca-gpt4")
    (problem,) = caught.value.problems
    for place_looked_at in ("alpaca-gpt4 is no file", "no data/alpaca-gpt4.*", str(tmp_path)):
        assert place_looked_at in problem.what
    assert "HF_HUB_OFFLINE is set" in problem.what
    assert "swift download --dataset" in problem.fix


def test_an_unknown_name_says_that_the_hub_was_asked_and_the_nearest_one(hub: Path) -> None:
    with pytest.raises(DataError, match=r"/hub/datasets has no acme/talk\n.*write `Acme/talks`"):
        find("acme/talk")


@pytest.mark.parametrize("name", ["../datasets/Acme", "Acme/..", "..", "Acme/../Acme/talks"])
def test_no_name_walks_through_the_hub(hub: Path, name: str) -> None:
    with pytest.raises(DataError, match="there is no data set"):
        find(name)
