"""What is fetched of a data set that a hub has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift.core.errors import DataError
from swift.dataset.sources import find, rows
from tests.hub.test_fetch import QUICK, world
from tests.hub.world import World

__all__ = ["world"]
LINE = b'{"text": "a"}\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    monkeypatch.setattr("swift.hub.fetch.Patience", lambda: QUICK)
    monkeypatch.setattr("swift.hub.web.Patience", lambda: QUICK)


def files(name: str) -> list[str]:
    return [path.name for path in find(name).files]


def here(tmp_path: Path) -> set[str]:
    found = [*tmp_path.glob("hf/**/*.jsonl"), *tmp_path.glob("ms/**/*.jsonl")]
    return {path.name for path in found}


def test_of_a_subset_only_its_files_are_fetched(world: World, tmp_path: Path) -> None:
    world.repos["datasets/acme/talks"] = {"zh/a.jsonl": LINE, "en/b.jsonl": LINE}
    assert files("acme/talks:zh") == ["a.jsonl"]
    assert here(tmp_path) == {"a.jsonl"}
    assert files("acme/talks:all") == ["b.jsonl", "a.jsonl"]


def test_files_that_the_card_calls_otherwise_are_fetched_too(world: World, tmp_path: Path) -> None:
    card = b"---\nconfigs:\n- config_name: zh\n  data_files: one.jsonl\n---\n"
    world.repos["datasets/acme/talks"] = {"README.md": card, "one.jsonl": LINE}
    assert files("acme/talks:zh") == ["one.jsonl"]


def test_a_subset_that_no_hub_has_is_said_with_those_there_are(world: World) -> None:
    world.repos["datasets/acme/talks"] = {"zh/a.jsonl": LINE, "en/b.jsonl": LINE}
    with pytest.raises(DataError, match=r"no subset `fr`; it has en, zh"):
        find("acme/talks:fr")


def test_a_row_of_the_catalogue_is_fetched_and_adapted(world: World) -> None:
    row = json.dumps({"prompt": "q", "answer": "a"}).encode()
    world.repos["datasets/iic/100PoisonMpts"] = {"train.jsonl": row}
    assert [raw.row for raw in rows(find("100poisonmpts"))] == [{"query": "q", "response": "a"}]
