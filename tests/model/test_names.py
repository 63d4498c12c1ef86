"""Which row each name of the catalogue means, and what a typing mistake is answered with."""

from __future__ import annotations

import random
import string
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from swift.core.errors import PlanError
from swift.model.find import find_model
from swift.model.names import Nearest, Row, bare, find, near, resolve, rows


@cache
def bearers() -> list[tuple[Row, set[str]]]:
    """Return (row, names) in the order of the rule: ids, then bare ids, then further names."""
    hugging_first = sorted(rows(), key=lambda row: not row.huggingface)
    by_id = [(row, {id.lower() for id in row.ids}) for row in rows()]
    by_bare = [(row, {bare(id).lower() for id in row.ids}) for row in hugging_first]
    return by_id + by_bare + [(row, set(row.names)) for row in rows()]


def owner(name: str) -> Row:
    return next(row for row, names in bearers() if name in names)


def cases(name: str) -> set[str]:
    return {name, name.upper(), name.lower(), name.swapcase()}


def test_the_catalogue_has_the_promised_size() -> None:
    text = [row for row in rows() if row.modality == ("text",)]
    assert len(text) >= 713
    assert len(rows()) - len(text) >= 451
    assert len({row.ids for row in rows()}) == len(rows())


def test_every_id_of_either_hub_is_its_row_in_any_case() -> None:
    for row in rows():
        for id in row.ids:
            assert {find(spelt) for spelt in cases(id)} == {row}, id


def test_every_bare_or_further_name_in_any_case_is_the_row_of_the_rule() -> None:
    for row in rows():
        for name in (*(bare(id).lower() for id in row.ids), *row.names):
            assert {find(spelt) for spelt in cases(name)} == {owner(name)}, name


def test_every_name_under_either_organisation_is_a_row_that_has_both() -> None:
    for row in rows():
        for organisation in {id.partition("/")[0] for id in row.ids}:
            for name in (row.name, *row.names):
                got = find(f"{organisation}/{name}")
                assert got is not None
                assert organisation.lower() in {id.lower().partition("/")[0] for id in got.ids}
                assert name.lower() in {bare(id).lower() for id in got.ids} | set(got.names)


def test_only_one_bare_name_is_of_two_rows_and_it_goes_to_the_one_on_hugging_face() -> None:
    count = Counter(name for row in rows() for name in {bare(id).lower() for id in row.ids})
    assert [name for name, times in count.items() if times > 1] == ["qwen3-32b-awq"]
    row = find("qwen3-32b-awq")
    assert row is not None
    assert row.ids == ("Qwen/Qwen3-32B-AWQ",)
    other = find("swift/Qwen3-32B-AWQ")
    assert other is not None
    assert not other.huggingface


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("qwen-7b", "Qwen/Qwen-7B"),
        ("Qwen-VL", "Qwen/Qwen-VL"),
        ("qwen-7b-base", "Qwen/Qwen-7B"),
        ("whisper-large-v3", "openai/whisper-large-v3"),
        ("llama-1-7b", "huggyllama/llama-7b"),
        ("chatglm-6b", "zai-org/chatglm-6b"),
        ("blip-2", "Salesforce/blip2-opt-2.7b"),
        ("InstructBLIP", "Salesforce/instructblip-vicuna-7b"),
        ("openflamingo", "openflamingo/OpenFlamingo-9B-vitl-mpt7b"),
        ("minigpt4", "Vision-CAIR/MiniGPT-4"),
        ("LLM-Research/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B"),
        ("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("InternVL2-1B-Pretrain", "OpenGVLab/InternVL2-Pretrain-Models:InternVL2-1B-Pretrain"),
    ],
)
def test_names_that_people_say(name: str, id: str) -> None:
    row = resolve(name)
    assert isinstance(row, Row)
    assert row.huggingface == id


def typo(name: str, edits: int, draw: random.Random) -> str:
    """Return `name` with letters dropped, added, exchanged or swapped."""
    for _ in range(edits):
        at = draw.randrange(len(name))
        letter = draw.choice(string.ascii_lowercase + string.digits + "-")
        name = draw.choice(
            [
                name[:at] + name[at + 1 :],
                name[:at] + letter + name[at:],
                name[:at] + letter + name[at + 1 :],
                name[:at] + name[at + 1 : at + 2] + name[at : at + 1] + name[at + 2 :],
            ]
        )
    return name


def steps(a: str, b: str) -> int:
    """Return the edits from one word to another, by the plain table: the oracle of `near`."""
    table = [[i + j if not i * j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i][j] = min(
                table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (x != y)
            )
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


def test_two_hundred_typos_get_the_name_that_was_meant() -> None:
    draw = random.Random(5)
    known = sorted({bare(id) for row in rows() for id in row.ids})
    every = {name.lower() for name in known} | {name for row in rows() for name in row.names}
    done = first = lost = 0
    while done < 200:
        meant = draw.choice(known)
        said = typo(meant.lower(), draw.choice([1, 2]), draw)
        if find(said) is not None:  # the typo is another model's name
            continue
        done += 1
        letters = Counter(said)
        maybe = [name for name in every if (letters - Counter(name)).total() <= 3]
        apart = {name: steps(said, name) for name in maybe if abs(len(name) - len(said)) <= 3}
        least = min(apart.values())
        equal = [name for name, far in apart.items() if far == least]
        hint = [name.lower() for name in near(said)]
        assert set(hint) <= set(equal), said
        assert len(hint) == min(3, len(equal)), said
        if equal == [meant.lower()]:
            assert hint == equal
            first += 1
        lost += meant.lower() not in hint
    assert first > 100  # most typos have one nearest name
    assert lost < 20, (
        lost
    )  # four and more equally near: one in a row of sizes, or a twice changed one


@pytest.mark.parametrize(
    "page",
    [
        "https://huggingface.co/Qwen/Qwen3-8B",
        "https://huggingface.co/Qwen/Qwen3-8B/tree/main",
        "https://www.modelscope.cn/models/Qwen/Qwen3-8B/summary",
        "https://modelscope.cn/models/qwen/qwen3-8b?x=1",
    ],
)
def test_the_page_of_a_model_is_its_name(page: str) -> None:
    assert find(page) is find("Qwen/Qwen3-8B") is not None


def test_a_word_far_from_every_name_has_no_hint() -> None:
    assert resolve("something-entirely-different") == Nearest(names=())


def test_several_equally_near_names_are_all_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    with pytest.raises(PlanError, match=r"write `Qwen2\.5-7B` or `Qwen2-7B`"):
        find_model("qwne25-7b", tmp_path)


def test_looking_a_name_up_is_cheap_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, time; from swift.model import names; start = time.process_time();"
        "assert names.find('qwen-7b'); took = time.process_time() - start;"
        "assert not {'torch', 'transformers', 'pydantic'} & set(sys.modules), sys.modules;"
        "assert took < 0.1, took"  # 0.012 s on an idle core
    )
    subprocess.run([sys.executable, "-c", script], check=True)
