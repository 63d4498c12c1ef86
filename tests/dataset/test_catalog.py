"""Which data set each name of the catalogue means, and what a typing mistake is answered with."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from swift.core.errors import DataError
from swift.dataset.adapters import Adapt, adapter_of
from swift.dataset.names import Listed, datasets, find_row, near, refs_of
from swift.dataset.said import Said, readings
from swift.dataset.sources import find
from tests.model.test_names import cases, steps, typo


def bare(id: str) -> str:
    return id.rpartition("/")[2].lower()


@cache
def bearers() -> list[tuple[Listed, set[str]]]:
    """Return (row, names) in the order of the rule."""
    every = datasets.rows()
    return [
        *((row, {row.name}) for row in every),
        *((row, {id.lower() for id in row.ids}) for row in every),
        *((row, {bare(id) for id in row.ids}) for row in every),
        *((row, set(row.names)) for row in every),
    ]


def owner(name: str) -> Listed:
    return next(row for row, names in bearers() if name in names)


def test_the_catalogue_has_the_promised_size() -> None:
    public = [row for row in datasets if row.ids]
    assert len(public) >= 197
    assert len({row.ids for row in public}) == len(public)
    kinds = Counter(kind for row in public for kind in (row.task, *row.uses, *row.tags))
    for kind in ("sft", "pt", "dpo", "kto", "vqa", "ocr", "caption", "grounding", "asr", "eval"):
        assert kinds[kind] >= 1, kind


def test_every_row_is_sound() -> None:
    for row in datasets:
        assert row.name == row.name.lower()
        assert bool(row.ids) != bool(row.source), row.name
        assert row.task in {"chat", "text", "vqa", "caption", "ocr", "grounding", "asr"}
        assert row.uses, row.name
        assert row.rows >= 0


def test_every_name_id_and_alias_is_its_row_in_any_case() -> None:
    for row in datasets:
        assert {find_row(spelt) for spelt in cases(row.name)} == {row}
        for name in (*row.ids, *map(bare, row.ids), *row.names):
            assert {find_row(spelt) for spelt in cases(name)} == {owner(name.lower())}, name
        assert {ref.id for ref in refs_of(row.name).values()} == set(row.ids)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("alpaca-gpt4", "vicgalle/alpaca-gpt4"),
        ("alpaca-zh", "llm-wizard/alpaca-gpt4-data-zh"),
        ("alpaca-gpt4-data-zh", "llm-wizard/alpaca-gpt4-data-zh"),
        ("AI-ModelScope/CodeAlpaca-20k", "HuggingFaceH4/CodeAlpaca_20K"),
        ("gqa", "lmms-lab/GQA"),
        ("databricks/databricks-dolly-15k", "databricks/databricks-dolly-15k"),
    ],
)
def test_names_that_people_say(name: str, id: str) -> None:
    row = find_row(name)
    assert row is not None
    assert row.huggingface == id


def test_two_hundred_typos_get_the_name_that_was_meant() -> None:
    draw = random.Random(7)
    known = sorted({bare(id) for row in datasets for id in row.ids} | {r.name for r in datasets})
    every = {*known, *(name for row in datasets for name in row.names)}
    done = first = lost = 0
    while done < 200:
        meant = draw.choice(known)
        said = typo(meant, draw.choice([1, 2]), draw)
        if find_row(said) is not None:
            continue
        done += 1
        apart = {name: steps(said, name) for name in every if abs(len(name) - len(said)) <= 3}
        least = min(apart.values())
        equal = [name for name, far in apart.items() if far == least]
        hint = [name.lower() for name in near(said)]
        assert set(hint) <= set(equal), said
        if equal == [meant]:
            assert hint == equal, said
            first += 1
        lost += meant not in hint
    assert first > 150
    assert lost < 20


def test_every_adapter_of_the_catalogue_can_be_read() -> None:
    for row in datasets:
        ways = [case.partition("=>")[0] for case in row.adapter.split(" ;; ")]
        names = [n.strip() for way in ways for n in way.split(",")] if "=>" in row.adapter else []
        for subset in (*row.subsets, *names):
            Adapt(adapter_of(row.adapter, (subset,)))
        Adapt(adapter_of(row.adapter, row.subsets[:1]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a", Said(stem="a")),
        ("a#5", Said(stem="a", take=5)),
        ("HF::o/a:x#5", Said(stem="o/a", hub="huggingface", subsets=("x",), take=5)),
        ("ms::o/a:x/y", Said(stem="o/a", hub="modelscope", subsets=("x", "y"))),
        ("o/a@v1:all", Said(stem="o/a", revision="v1", subsets=("all",))),
        ("o/a@refs/pr/1", Said(stem="o/a", revision="refs/pr/1")),
    ],
)
def test_a_name_says_hub_revision_subset_and_rows(name: str, said: Said) -> None:
    assert list(readings(name))[-1] == said


def test_looking_a_name_up_is_cheap_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, time; from swift.dataset import names; start = time.process_time();"
        "assert names.find_row('alpaca-zh'); took = time.process_time() - start;"
        "heavy = {'torch', 'transformers', 'pydantic', 'pyarrow', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_name_lists_every_place_in_order(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    with pytest.raises(DataError) as caught:
        find("alpacca-zh")
    text = str(caught.value)
    places = ("is no file and no folder", "no plug-in", "no data/alpacca-zh.*", "the catalogue has")
    assert sorted(places, key=text.index) == list(places)
    assert "write `alpaca-zh`" in text
