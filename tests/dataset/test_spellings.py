"""Format -> rows in -> Samples out: what is expected stands in spellings.jsonl, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tools.formats import DOC, made

from swift.chat.message import Media, Message, Sample, Thing
from swift.dataset.formats import Reading, formats, to_samples
from swift.dataset.raw import Raw

TABLE = Path(__file__).with_name("spellings.jsonl")
ENTRIES = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
GOOD = [entry for entry in ENTRIES if "reject" not in entry]


def message(said: list[Any]) -> Message:
    role, content, *rest = said
    more = dict(rest[0]) if rest else {}
    return Message(role=role, content=content, loss=more.pop("loss", None), more=more)


def media(said: str | list[str]) -> Media:
    first, *frames = [said] if isinstance(said, str) else said
    kind, source = first.split(" ", 1)
    return Media(kind=kind, source=source, frames=tuple(frames))  # type: ignore[arg-type]


def thing(said: list[Any]) -> Thing:
    name, box, scale, image = said if len(said) == 4 else [*said, "pixels", 0]
    return Thing(name=name, box=tuple(box), scale=scale, image=image)


def expected(said: dict[str, Any]) -> Sample:
    """Return the Sample of an entry: a turn is [role, content, more], a medium "kind path"."""
    turns: dict[str, Any] = {
        k: tuple(map(message, said[k])) for k in ("chosen", "rejected") if k in said
    }
    texts: dict[str, Any] = {
        k: tuple(tuple(map(message, text)) for text in said[k])
        for k in ("positives", "negatives")
        if k in said
    }
    own: dict[str, Any] = {
        k: tuple(map(media, said[k])) for k in ("media", "rejected_media") if k in said
    }
    if "other_media" in said:
        texts["other_media"] = tuple(tuple(map(media, one)) for one in said["other_media"])
    kept = ("text", "label", "margin", "target", "solution", "columns")
    plain: dict[str, Any] = {
        k: tuple(said[k]) if isinstance(said[k], list) else said[k] for k in kept if k in said
    }
    return Sample(
        **turns,
        **texts,
        **own,
        **plain,
        things=tuple(map(thing, said.get("things", ()))),
        tools=tuple(said.get("tools", ())),
        origin="rows.jsonl:2",
    )


def read(entry: dict[str, Any]) -> tuple[list[Sample], list[str], list[Reading]]:
    rejects: list[str] = []
    readings: list[Reading] = []
    raws = [Raw(row=entry["row"], origin="rows.jsonl:2")]
    found = to_samples(
        raws,
        wants=entry.get("wants", "answers"),
        on_reject=lambda name, _: rejects.append(name),
        on_reading=readings.append,
    )
    return list(found), rejects, readings


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_a_spelling_gives_the_sample_that_it_means(entry: dict[str, Any]) -> None:
    found, rejects, readings = read(entry)
    if "reject" in entry:
        assert (found, rejects) == ([], [entry["reject"]])
        return
    assert rejects == []
    assert found == [expected(one) for one in entry.get("samples", [entry.get("sample")])]
    (reading,) = readings
    assert (reading.format, sorted(reading.unread)) == (entry["format"], entry.get("unread", []))


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry["name"])
def test_a_second_row_of_the_same_columns_gives_the_same(entry: dict[str, Any]) -> None:
    raws = [Raw(row=entry["row"], origin="rows.jsonl:2")] * 3
    wants = entry.get("wants", "answers")
    found = list(to_samples(raws, wants=wants, on_reject=lambda *r: pytest.fail(str(r))))
    assert found == [expected(one) for one in entry.get("samples", [entry.get("sample")])] * 3


def test_every_format_is_spelt_and_every_entry_has_its_own_name() -> None:
    assert {e["format"] for e in GOOD} >= {f.name for f in formats}
    assert len({e["name"] for e in ENTRIES}) == len(ENTRIES) >= 100


def test_how_rows_are_read_is_said() -> None:
    entry = next(e for e in ENTRIES if e["name"] == "a label nobody asked for")
    (reading,) = read(entry)[2]
    assert reading.describe() == "rows.jsonl:2: read as messages (messages); not read: label"
    (labelled,) = read(entry | {"wants": "labels"})[2]
    assert labelled.describe() == "rows.jsonl:2: read as messages (messages, label) for labels"


def test_the_most_telling_format_comes_first() -> None:
    order = "similar preference messages alpaca query-response prompt labelled text"
    assert [f.name for f in formats] == order.split()


def test_the_page_on_formats_is_made_from_these_rows() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert made(text) == text
    assert all(f"### {found.name}\n\n* " in text for found in formats)
