"""Whatever is wrong with files, rows, recipes and templates is caught, by its name."""

# ruff: noqa: E501 - a fault is a line

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import SwiftError
from swift.recipe import read
from swift.run import needs
from swift.run.check import Checked, check

Row = dict[str, Any] | bytes


def talk(*said: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]
    return {"messages": turns, **more}


def turns(*said: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said], **more}


GOOD = [talk(f"What is {i} und {i}, übrigens?", f"It is {i + i}.") for i in range(12)]
PAIRS = [{**talk(f"What is {i}?", f"{i}."), "rejected_response": f"{i + 1}."} for i in range(12)]
ANSWER = {"role": "assistant", "content": "b"}
LONG = " ".join(f"word{i}" for i in range(300))


def write(path: Path, rows: Sequence[Row]) -> str:
    lines = [
        row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()
        for row in rows
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


def checked(**said: Any) -> Checked:
    said = {"model": "nano", **said}
    method = said.pop("method", "sft")
    overrides = [(key.replace("__", "."), value) for key, value in said.items()]
    return check(read(None, overrides, method), say=lambda text: None)


ROWS: list[tuple[str, Row, dict[str, Any]]] = [
    ("broken-line", b'{"messages": [', {}),
    ("broken-line", b"[1, 2]", {}),
    ("broken-line", b"not json at all", {}),
    ("not-utf-8", b'{"messages": "\xff\xfe"}', {}),
    ("unknown-format", {"colour": "red"}, {}),
    ("wrong-shape", {"messages": 5}, {}),
    ("wrong-shape", {"messages": ["a", "b"]}, {}),
    ("wrong-role", turns(("wizard", "a"), ("assistant", "b")), {}),
    ("role-order", turns(("user", "a"), ("user", "b"), ("assistant", "c")), {}),
    ("role-order", turns(("user", "a"), ("assistant", "b"), ("system", "c"), *[("user", "d"), ("assistant", "e")]), {}),
    ("empty-answer", talk("a", " "), {}),
    ("empty-question", talk(" ", "b"), {}),
    ("no-answer", turns(("user", "a")), {}),
    ("broken-call", turns(("user", "a"), ("tool_call", '{"arguments": {}}'), ("assistant", "b")), {}),
    ("half-character", b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "b"}]}', {}),
    ("control-characters", talk("a\x07b", "c"), {}),
    ("garbled", talk("caf\ufffd\ufffd", "c"), {}),
    ("fractional-loss", {"messages": [{"role": "user", "content": "a"}, {**ANSWER, "loss": 0.5}]}, {}),
    ("unknown-block", turns(("user", [{"type": "hologram", "data": "x"}]), ("assistant", "b")), {}),
    ("media-count", {**talk("<image><image> what?", "b"), "images": ["a.png"]}, {}),
    ("missing-media", {**talk("<image> what?", "b"), "images": ["none.png"]}, {}),
    ("media-not-taken", {**talk("<image> what?", "b"), "images": ["https://example.com/a.png"]}, {}),
    ("empty-media", {**talk("<image> what?", "b"), "images": [""]}, {}),
    ("duplicate", GOOD[3], {}),
    ("near-duplicate", talk(LONG, "b c"), {"data__near_duplicates": 0.9, "extra": talk(LONG, "b")}),
    ("truncated", talk("a", LONG[:300]), {"data__max_length": 100}),
    ("too-long", talk("a", LONG), {"data__max_length": 100, "data__on_long": "drop"}),
    ("no-supervised-token", talk(LONG, "b"), {"data__max_length": 100, "truncates": True}),
    ("no-supervised-token", {"messages": [{"role": "user", "content": "a"}, {**ANSWER, "loss": False}]}, {}),
    ("tools-not-taken", {**talk("a", "b"), "tools": [{"type": "function", "function": {"name": "f"}}]}, {}),
    ("reasoning-not-written", {"messages": [{"role": "user", "content": "a"}, {**ANSWER, "reasoning_content": "so"}]}, {}),
    ("equal-pair", {**talk("a", "b"), "rejected_response": "b"}, {"method": "dpo"}),
    ("no-rejected", {**talk("a", "b"), "rejected_response": None}, {"method": "dpo"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "said"), ROWS, ids=[f"{i}-{r[0]}" for i, r in enumerate(ROWS)])  # fmt: skip
def test_a_bad_row_among_good_ones_is_counted_by_its_name(
    name: str, row: Row, said: dict[str, Any], tmp_path: Path
) -> None:
    said = dict(said)
    good = PAIRS if said.get("method") == "dpo" else GOOD
    more = [said.pop("extra")] if "extra" in said else []
    others = {"truncated"} if said.pop("truncates", False) else set()
    path = write(tmp_path / "rows.jsonl", [*good, *more, row])
    found = checked(dataset=path, data__image_folder=str(tmp_path), **said)
    report = found.reports["train"]
    assert set(report.counts) - others == {name}
    assert report.origins[name][0].startswith(f"rows.jsonl:{len(good) + len(more) + 1}")
    asked = {"near-duplicate", "split"}  # for by the recipe
    assert {f.name for f in found.findings} - others == {name} - asked
    assert not found.failures


def of_folder(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows" / "train-1.jsonl", [*GOOD])
    (tmp_path / "rows" / "train-2.jsonl").touch()
    return {"dataset": str(tmp_path / "rows")}


def of_table(tmp_path: Path, last: str) -> dict[str, Any]:
    good = "".join(f"What is {i}?,It is {i}.\n" for i in range(12))
    (tmp_path / "rows.csv").write_text(f"query,response\n{good}{last}")
    return {"dataset": str(tmp_path / "rows.csv")}


def of_packed(tmp_path: Path) -> dict[str, Any]:
    path = Path(write(tmp_path / "rows.jsonl", [*GOOD]))
    path.write_bytes(gzip.compress(path.read_bytes()))
    return {"dataset": str(path)}


def of_more(tmp_path: Path) -> dict[str, Any]:
    return {"dataset": write(tmp_path / "rows.jsonl", [*GOOD]) + "#500"}


def of_leak(tmp_path: Path) -> dict[str, Any]:
    held = write(tmp_path / "held.jsonl", [GOOD[4], talk("Who?", "I.")])
    return {"dataset": write(tmp_path / "rows.jsonl", [*GOOD]), "data__validation": held}


def of_near_leak(tmp_path: Path) -> dict[str, Any]:
    held = write(tmp_path / "held.jsonl", [talk(LONG, "b c"), talk("Who?", "I.")])
    rows = write(tmp_path / "rows.jsonl", [*GOOD, talk(LONG, "b")])
    return {"dataset": rows, "data__validation": held}


def of_refusal(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "strict.jinja").write_text(
        "{% for m in messages %}{% if loop.index > 4 %}{{ raise_exception('too many turns') }}"
        "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    rows = write(tmp_path / "rows.jsonl", [*GOOD, talk(*"abcdefgh")])
    return {"dataset": rows, "model.template": str(tmp_path / "strict.jinja")}


SETS: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
    ("empty-file", of_folder),
    ("misnamed", of_packed),
    ("ragged-row", lambda p: of_table(p, "a,b,c\n")),
    ("ragged-row", lambda p: of_table(p, "a\n")),
    ("stray-quote", lambda p: of_table(p, '"a"b,c\n')),
    ("fewer-rows", of_more),
    ("leaked", of_leak),
    ("near-leaked", of_near_leak),
    ("template-refuses", of_refusal),
]


@pytest.mark.parametrize(("name", "made"), SETS, ids=[row[0] for row in SETS])
def test_a_fault_of_a_whole_set_is_counted_by_its_name(
    name: str, made: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    found = checked(**made(tmp_path))
    assert {f.name: f.level for f in found.findings} == {name: "warning"}


def rows(tmp_path: Path, *more: Row) -> dict[str, Any]:
    return {"dataset": write(tmp_path / "rows.jsonl", [*GOOD, *more])}


def spoilt(tmp_path: Path, name: str, data: bytes) -> dict[str, Any]:
    (tmp_path / name).write_bytes(data)
    return {"dataset": str(tmp_path / name)}


def template(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "own.jinja").write_text(text)
    return {**rows(tmp_path), "model.template": str(tmp_path / "own.jinja")}


BAD = b'{"messages": ['
FATAL: list[tuple[str, str, Callable[[Path], dict[str, Any]]]] = [
    ("no-file", "there is no data set", lambda p: {"dataset": str(p / "none.jsonl")}),
    ("no-such-kind", "no kind of file that is read", lambda p: spoilt(p, "rows.docx", b"x")),
    ("empty", "the file is empty", lambda p: spoilt(p, "rows.jsonl", b"")),
    ("spoilt", "compression breaks", lambda p: spoilt(p, "rows.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9999)[:90])),
    ("not-gzip", "compression breaks", lambda p: spoilt(p, "rows.jsonl.gz", b"\x1fplain\xff")),
    ("no-text", "it is a PNG picture", lambda p: spoilt(p, "rows.jsonl", b"\x89PNG\r\n\x1a\n")),
    ("text-as-parquet", "but it is text.*mv ", lambda p: spoilt(p, "rows.parquet", b'{"text": "a"}\n')),
    ("blank", "the file holds no row", lambda p: spoilt(p, "rows.jsonl", b"\n \n")),
    ("revision-of-a-file", "no revision `main`", lambda p: {"dataset": write(p / "r.jsonl", [*GOOD]) + "@main"}),
    ("subset-of-a-file", "has no subsets such as `zh`", lambda p: {"dataset": write(p / "r.jsonl", [*GOOD]) + ":zh"}),
    ("not-parquet", "rows.parquet", lambda p: spoilt(p, "rows.parquet", b"PAR1 no")),
    ("no-columns", "rows.jsonl:1", lambda p: spoilt(p, "rows.jsonl", b'{"colour": "red"}\n')),
    ("nothing-left", "no sample is left.*empty-answer: 1", lambda p: {"dataset": write(p / "r.jsonl", [talk("a", " ")])}),
    ("all-masked", "no sample is left.*no-supervised-token: 1", lambda p: {"dataset": write(p / "r.jsonl", [talk(LONG, "a")]), "data__max_length": 100}),
    ("no-rows-asked", "number of rows", lambda p: {"dataset": rows(p)["dataset"] + "#0"}),
    ("no-format", "there is no format `alpacca`", lambda p: {"dataset": [{"name": rows(p)["dataset"], "format": "alpacca"}]}),
    ("text-wanted", "plain text is trained", lambda p: {**rows(p), "task": "text"}),
    ("pairs-wanted", "pairs are trained", lambda p: {**rows(p), "method": "dpo"}),
    ("too-long", "more than max_length", lambda p: {**rows(p, talk("a", LONG)), "data__on_long": "fail", "data__max_length": 100}),
    ("strict", "broken-line: the line is no JSON", lambda p: {**rows(p, BAD), "data__strict": True}),
    ("strict-order", "role-order", lambda p: {**rows(p, turns(("user", "a"), ("user", "b"), ("assistant", "c"))), "data__strict": True}),
    ("on_bad", "broken-line", lambda p: {**rows(p, BAD), "data__on_bad": "fail"}),
    ("on_duplicate", "duplicate", lambda p: {**rows(p, GOOD[0]), "data__on_duplicate": "fail"}),
    ("on_leak", "leaked", lambda p: {**of_leak(p), "data__on_leak": "fail"}),
    ("all-held", "validation samples are trained on", lambda p: {"dataset": write(p / "r.jsonl", [*GOOD]), "data__validation": write(p / "h.jsonl", [*GOOD]), "data__on_leak": "drop"}),
    ("all-validated", "leaves none to train on", lambda p: {"dataset": write(p / "r.jsonl", GOOD[:1]), "data__validation": 0.5}),
    ("no-key", "no key `rnak`", lambda p: {**rows(p), "tuner": {"name": "lora", "rnak": 4}}),
    ("no-method", "there is no", lambda p: {**rows(p), "tuner": "lorra"}),
    ("wrong-kind", "max_length", lambda p: {**rows(p), "data__max_length": "long"}),
    ("out-of-bounds", "max_length", lambda p: {**rows(p), "data__max_length": 1}),
    ("no-model", "no-such-model", lambda p: {**rows(p), "model": "./no-such-model"}),
    ("broken-template", "not Jinja", lambda p: template(p, "{% for m in %}")),
    ("no-template", "none.jinja", lambda p: {**rows(p), "model.template": "none.jinja"}),
    ("silent-template", "trained|end", lambda p: template(p, "{% for m in messages %}{{ m.role }} {% endfor %}")),
    ("endless-template", "ends the answer", lambda p: template(p, "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}")),
]  # fmt: skip


@pytest.mark.parametrize(("said", "made"), [f[1:] for f in FATAL], ids=[f[0] for f in FATAL])
def test_what_cannot_be_trained_on_ends_in_words(
    said: str, made: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(SwiftError, match=f"(?s){said}"):
        checked(**made(tmp_path))


def taken(path: Path) -> dict[str, Any]:
    write(path / "other.jsonl", [*GOOD])
    return {**rows(path), "output_dir": str(path)}


WASTED: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
    ("rejected", lambda p: rows(p, *[BAD] * 13)),
    ("cut-off", lambda p: {**rows(p, talk("a", LONG * 9)), "data__max_length": 100}),
    ("leaked", lambda p: {**rows(p), "data__validation": write(p / "h.jsonl", GOOD[:3])}),
    ("folder", taken),
]


@pytest.mark.parametrize(("name", "made"), WASTED, ids=[row[0] for row in WASTED])
def test_a_run_that_would_be_wasted_is_a_failure(
    name: str, made: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    assert [f.name for f in checked(**made(tmp_path)).failures] == [name]


@pytest.mark.parametrize(("name", "figure"), [("memory", "capacity"), ("disk", "free")])
def test_a_run_that_has_no_room_is_a_failure(
    name: str, figure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, figure, lambda plan: 1000)
    assert [f.name for f in checked(**rows(tmp_path)).failures] == [name]
