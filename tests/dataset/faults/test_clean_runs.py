"""Nothing is said of recipes and files with which nothing is wrong."""

# ruff: noqa: E501 - a recipe is a line

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swift.recipe import read
from swift.run.check import check

ASKS = [(f"How many are {i} and {i}, überhaupt?", f"They are {i + i}.") for i in range(14)]
CHAT = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in ASKS
]


def jsonl(path: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> dict[str, Any]:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (path / name).write_text(text, encoding="utf-8")
    return {"dataset": str(path / name)}


def turns(*said: tuple[str, Any], key: str = "messages", **more: Any) -> dict[str, Any]:
    return {key: [{"role": role, "content": content} for role, content in said], **more}


def table(path: Path, separator: str, name: str) -> dict[str, Any]:
    with (path / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([("query", "response"), *ASKS])
    return {"dataset": str(path / name)}


def parquet(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(CHAT), path / "rows.parquet")
    return {"dataset": str(path / "rows.parquet")}


def packed(path: Path) -> dict[str, Any]:
    (path / "rows.jsonl.gz").write_bytes(
        gzip.compress(Path(jsonl(path, CHAT)["dataset"]).read_bytes())
    )
    return {"dataset": str(path / "rows.jsonl.gz")}


def text(path: Path, name: str = "prose.txt") -> dict[str, Any]:
    (path / name).write_text("\n".join(f"{q} {a}" for q, a in ASKS), encoding="utf-8")
    return {"dataset": [{"name": str(path / name), "documents": "line"}], "task": "text"}


def whole(path: Path) -> dict[str, Any]:
    (path / "rows.json").write_text(json.dumps(CHAT), encoding="utf-8")
    return {"dataset": str(path / "rows.json")}


def folder(path: Path) -> dict[str, Any]:
    (path / "set").mkdir()
    jsonl(path / "set", CHAT[:9], "train.jsonl")
    jsonl(path / "set", CHAT[9:], "test.jsonl")
    return {"dataset": str(path / "set"), "data.validation": str(path / "set" / "test.jsonl")}


def weighted(path: Path) -> dict[str, Any]:
    one = jsonl(path, CHAT[:7], "a.jsonl")["dataset"]
    two = jsonl(path, CHAT[7:], "b.jsonl")["dataset"]
    return {"dataset": [{"name": one, "weight": 1}, {"name": two, "weight": 1}]}


PREFERENCES = [{**row, "rejected_response": "I do not know."} for row in CHAT]
SYSTEM = [turns(("system", "Be brief."), ("user", q), ("assistant", a)) for q, a in ASKS]
TALK = [
    turns(("user", q), ("assistant", a), ("user", "Sure?"), ("assistant", "Yes.")) for q, a in ASKS
]
BLOCKS = [
    turns(("user", [{"type": "text", "text": q}]), ("assistant", [{"type": "text", "text": a}]))
    for q, a in ASKS
]
SHARED = [
    {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in ASKS
]
MARKED = [
    {
        "messages": [
            {"role": "user", "content": q},
            {"role": "assistant", "content": a, "loss": True},
        ]
    }
    for q, a in ASKS
]
SIDES = [{"prompt": q, "chosen": a, "rejected": "I do not know."} for q, a in ASKS]

CLEAN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "messages": lambda p: jsonl(p, CHAT),
    "system": lambda p: jsonl(p, SYSTEM),
    "several turns": lambda p: jsonl(p, TALK),
    "blocks": lambda p: jsonl(p, BLOCKS),
    "sharegpt": lambda p: jsonl(p, SHARED),
    "alpaca": lambda p: jsonl(p, [{"instruction": q, "input": "", "output": a} for q, a in ASKS]),
    "query": lambda p: jsonl(p, [{"query": q, "response": a, "history": [["Hi", "Hello"]]} for q, a in ASKS]),
    "columns": lambda p: {"dataset": [{**{"name": jsonl(p, [{"ask": q, "tell": a} for q, a in ASKS])["dataset"]}, "columns": {"ask": "query", "tell": "response"}}]},
    "loss of turns": lambda p: jsonl(p, MARKED),
    "csv": lambda p: table(p, ",", "rows.csv"),
    "tsv": lambda p: table(p, "\t", "rows.tsv"),
    "json": whole,
    "parquet": parquet,
    "gzip": packed,
    "folder": folder,
    "text": text,
    "text column": lambda p: {**jsonl(p, [{"text": f"{q} {a}"} for q, a in ASKS]), "task": "text"},
    "preference": lambda p: {**jsonl(p, PREFERENCES), "method": "dpo"},
    "sides": lambda p: {**jsonl(p, SIDES), "method": "dpo"},
    "drawn": lambda p: {"dataset": jsonl(p, CHAT)["dataset"] + "#9"},
    "weights": weighted,
    "share": lambda p: {**jsonl(p, CHAT), "data.validation": 0.2},
    "packing": lambda p: {**jsonl(p, CHAT), "data.packing": True},
    "strict": lambda p: {**jsonl(p, CHAT), "data.strict": True, "data.near_duplicates": 0.95},
    "own": lambda p: {"dataset": "nano-orders#50"},
    "own pairs": lambda p: {"dataset": "nano-preferences#50", "method": "dpo"},
    "full": lambda p: {**jsonl(p, CHAT), "tuner": "full", "train.max_steps": 3},
    "short": lambda p: {**jsonl(p, CHAT), "data.max_length": 200, "data.on_long": "split"},
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_said_where_nothing_is_wrong(name: str, tmp_path: Path) -> None:
    said = {"model": "nano", **CLEAN[name](tmp_path)}
    method = said.pop("method", "sft")
    found = check(read(None, list(said.items()), method), say=lambda text: None)
    assert not found.findings
    assert not any(report.counts for report in found.reports.values())
