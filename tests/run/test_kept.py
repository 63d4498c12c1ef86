"""A second run finds the tokens of the first and says the same; another plan makes its own."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import DataError
from swift.dataset.encoded import Block, Store
from swift.plan import resolve
from swift.recipe import read
from swift.run import kept
from swift.run.data import Prepared, prepare
from swift.run.given import NOTHING, Given
from tests.kit import chat_rows, tiny_chat_model

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    tiny_chat_model(tmp_path / "model")
    chat_rows(tmp_path / "rows.jsonl", 40)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write("{broken\n")
    return tmp_path


def prepared(
    base: Path, *said: tuple[str, object], given: Given = NOTHING
) -> tuple[Prepared, Told]:
    named: dict[str, object] = {"model": str(base / "model"), "dataset": str(base / "rows.jsonl")}
    plan = resolve(read(None, [*(named | dict(said)).items()], "sft"))
    told: Told = []
    made = prepare(plan, lambda kind, **fields: told.append((kind, fields)), given)
    return made, told


def entries(base: Path) -> int:
    return sum(path.is_dir() for path in (base / "cache" / "encoded").glob("????????*"))


def test_a_second_run_encodes_nothing_and_says_the_same(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, told = prepared(base, ("data.validation", 0.2))
    monkeypatch.setattr("swift.dataset.encode.encode", None)
    monkeypatch.setattr("swift.dataset.sources.rows", None)
    second, again = prepared(base, ("data.validation", 0.2), ("train.epochs", 7))
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(again))
    assert any("broken-line: 1" in fields.get("text", "") for _, fields in again)
    assert second.fingerprint == first.fingerprint
    assert second.validation is not None
    assert first.validation is not None
    assert list(second.validation.origins) == list(first.validation.origins)
    assert entries(base) == 1


@pytest.mark.parametrize(
    "other",
    [("data.max_length", 30), ("data.thinking", "drop"), ("train.seed", 3), ("loss_on", "all")],
)
def test_what_tokens_depend_on_makes_another_entry(base: Path, other: tuple[str, object]) -> None:
    prepared(base)
    prepared(base, other)
    assert entries(base) == 2


@pytest.mark.parametrize(
    "other", [("data.num_proc", 2), ("data.shuffle", False), ("train.batch_size", 2)]
)
def test_what_they_do_not_depend_on_makes_none(base: Path, other: tuple[str, object]) -> None:
    first, _ = prepared(base, ("data.num_proc", 1))
    second, _ = prepared(base, other)
    assert (entries(base), second.fingerprint) == (1, first.fingerprint)


def test_a_row_that_changed_and_a_template_that_changed_are_seen(base: Path) -> None:
    first, _ = prepared(base)
    text = (base / "rows.jsonl").read_text()
    (base / "rows.jsonl").write_text(text.replace("red", "rad"))
    second, _ = prepared(base)
    config = json.loads((base / "model" / "tokenizer_config.json").read_text())
    config["chat_template"] = config["chat_template"].replace("end|>\n", "end|>\n\n")
    (base / "model" / "tokenizer_config.json").write_text(json.dumps(config))
    third, _ = prepared(base)
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3


def test_rows_that_were_brought_along_are_not_kept(base: Path) -> None:
    rows = [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()[:9]]
    made, _ = prepared(base, given=Given(rows=rows))
    assert (len(made.train), entries(base)) == (9, 0)


WORDS = "tokens are kept in memory, for this run alone: "


def warned(told: Told) -> list[str]:
    return [fields["text"] for kind, fields in told if kind == "warning"]


def a_file(base: Path, patched: pytest.MonkeyPatch) -> str:
    (base / "file").write_text("")
    patched.setenv("SWIFT_CACHE", str(base / "file"))
    return "choose a folder"


def a_file_inside(base: Path, patched: pytest.MonkeyPatch) -> str:
    (base / "cache").mkdir()
    (base / "cache" / "encoded").write_text("")
    return "choose a folder"


def a_read_only_disk(base: Path, patched: pytest.MonkeyPatch) -> str:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    patched.setattr("swift.dataset.entries._locked", refused)
    return "choose a folder that can be written"


def a_disk_that_fills_up(base: Path, patched: pytest.MonkeyPatch) -> str:
    def full(store: Store, block: Block) -> None:
        if store._folder is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(store, block)

    add = Store.add
    patched.setattr(Store, "add", full)
    return "free some space"


BAD = [a_file, a_file_inside, a_read_only_disk, a_disk_that_fills_up]


@pytest.mark.parametrize("bad", BAD)
def test_a_cache_that_cannot_be_written_stops_nobody(
    base: Path, monkeypatch: pytest.MonkeyPatch, bad: Callable[[Path, pytest.MonkeyPatch], str]
) -> None:
    with monkeypatch.context() as patched:
        fix = bad(base, patched)
        made, told = prepared(base)
    assert [text.startswith(WORDS) and fix in text for text in warned(told)] == [True]
    assert not [*(base / "cache").glob("encoded/*/*")]
    assert not [*(base / "cache").glob("encoded/.*")]
    if (base / "cache" / "encoded").is_file():
        (base / "cache" / "encoded").unlink()
    monkeypatch.setenv("SWIFT_CACHE", str(base / "cache"))
    whole, again = prepared(base)
    assert (made.fingerprint, len(made.train)) == (whole.fingerprint, 40)
    data = [[fields for kind, fields in one if kind == "data"] for one in (told, again)]
    assert data[0] == data[1]
    assert entries(base) == 1


def test_a_plain_file_in_the_place_of_tokens_is_replaced_in_a_word(base: Path) -> None:
    first, _ = prepared(base)
    (entry,) = (path.parent for path in (base / "cache" / "encoded").glob("*/card.json"))
    shutil.rmtree(entry)
    entry.write_text("")
    second, told = prepared(base)
    assert second.fingerprint == first.fingerprint
    notes = [fields["text"] for kind, fields in told if kind == "note"]
    assert [note for note in notes if "made anew" in note] == [
        f"the tokens kept in {entry} are not what was written: they are made anew"
    ]
    assert warned(told) == []


def test_a_run_that_fails_says_why_and_leaves_no_entry(base: Path) -> None:
    with pytest.raises(DataError, match="more than max_length 5"):
        prepared(base, ("data.max_length", 5), ("data.on_long", "fail"))
    assert entries(base) == 0


def test_long_work_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    told: list[str] = []
    tell = kept.progress(lambda kind, text: told.append(f"{kind}: {text}"))
    for second in range(25):
        now = 100.0 + second
        tell(second * 1000)
    assert told == ["note: 10,000 samples are tokens", "note: 20,000 samples are tokens"]
