"""Every accepted spelling of a row, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.chat.message import Sample
from swift.core.errors import DataError
from swift.dataset.formats import Format, formats, to_samples
from swift.dataset.formats.wanted import WISHES
from swift.dataset.raw import Raw
from swift.dataset.tasks import task_of


def read(row: dict[str, Any], **options: Any) -> Sample:
    rejects: list[tuple[str, str]] = []
    found = list(
        to_samples([Raw(row=row, origin="x:1")], on_reject=lambda *r: rejects.append(r), **options)
    )
    assert not rejects, rejects
    assert found[0].origin == "x:1"
    return found[0]


def said(messages: Any) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in messages]


ASK = {"role": "user", "content": "Hi"}
SAY = {"role": "assistant", "content": "Hello"}
NO = {"role": "assistant", "content": "Go away"}
QA = [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, SAY]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"instruction": "Hi", "input": "", "output": "Hello"},
        {"instruction": "Hi", "output": "Hello"},
        {"query": "Hi", "response": "Hello"},
        {"question": "Hi", "answer": "Hello"},
        {"prompt": "Hi", "completion": "Hello"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                      SAY], "more": 1},
    ],
)  # fmt: skip
def test_one_question_and_its_answer(row: dict[str, Any]) -> None:
    assert said(read(row).chosen) == QA


def test_alpaca_joins_instruction_and_input() -> None:
    row = {"instruction": "Add", "input": "1 + 1", "output": "2", "system": "Be exact"}
    assert said(read(row).chosen) == [
        ("system", "Be exact"),
        ("user", "Add\n1 + 1"),
        ("assistant", "2"),
    ]


def test_history_comes_before_the_question() -> None:
    row = {"query": "c", "response": "d", "history": [["a", "b"]]}
    assert [c for _, c in said(read(row).chosen)] == ["a", "b", "c", "d"]


PAIRED = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
PAIR = (QA, [("user", "Hi"), ("assistant", "Go away")])


@pytest.mark.parametrize(
    "row",
    [
        PAIRED,
        {"prompt": "Hi", "chosen": [SAY], "rejected": [NO]},
        {"query": "Hi", "response": "Hello", "rejected_response": "Go away"},
        {"messages": [ASK, SAY],
         "rejected_response": "Go away"},
        {"chosen": [ASK, SAY],
         "rejected": [ASK, NO]},
        {"prompt": [ASK],
         "chosen": [SAY],
         "rejected": [NO]},
        {"messages": [ASK, SAY],
         "rejected_messages": [ASK,
                               NO]},
    ],
)  # fmt: skip
def test_pairs(row: dict[str, Any]) -> None:
    found = read(row, wants="pairs")
    assert (said(found.chosen), said(found.rejected)) == PAIR
    assert said(read(row).chosen) == QA  # sft reads the chosen side alone


def test_plain_text() -> None:
    assert read({"text": "Once upon a time"}).text == "Once upon a time"


def test_a_column_map_renames_first() -> None:
    assert (
        said(read({"q": "Hi", "a": "Hello"}, columns={"q": "query", "a": "response"}).chosen) == QA
    )


def test_a_turns_own_loss_and_tool_calls_are_kept() -> None:
    call = [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "tool_calls": call, "loss": False},
            {"role": "tool", "content": "1"},
            {"role": "assistant", "content": "b"},
        ],
        "tools": '[{"type": "function"}]',
    }
    found = read(row)
    assert found.chosen[1].more["tool_calls"] == call
    assert [m.loss for m in found.chosen] == [None, False, None, None]
    assert found.tools == ({"type": "function"},)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": []}, "wrong-shape"),
        ({"messages": "no list"}, "wrong-shape"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "wrong-role"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no-answer"),
        ({"query": "x", "response": " "}, "empty-answer"),
        ({"query": "", "response": "x"}, "empty-question"),
        ({"query": 1, "response": "x"}, "wrong-shape"),
        ({"text": ""}, "empty"),
        ({"instruction": "x", "output": None}, "wrong-shape"),
        ({"messages": [ASK, SAY], "tools": "[" * 100_000}, "wrong-shape"),
        ({"messages": [ASK, SAY | {"loss": "no"}]}, "wrong-shape"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "text": ""}]}, SAY]},
         "media-count"),
        ({"query": "\ud800", "response": "b"}, "half-character"),
        ({"messages": [ASK, SAY | {"thinking": "\udfff"}]}, "half-character"),
    ],
)  # fmt: skip
def test_a_bad_row_is_counted_by_name(row: dict[str, Any], name: str) -> None:
    rejects: list[tuple[str, str]] = []
    raws = [Raw(row=row, origin="x:1"), Raw(row={"query": "a", "response": "b"}, origin="x:2")]
    assert len(list(to_samples(raws, on_reject=lambda *r: rejects.append(r)))) == 1
    assert rejects == [(name, "x:1")]


def test_a_pair_without_its_other_side_is_counted() -> None:
    rejects: list[tuple[str, str]] = []
    raws = [
        Raw(row={"query": "a", "response": "b", "rejected_response": "c"}, origin="x:1"),
        Raw(row={"query": "a", "response": "b"}, origin="x:2"),
        Raw(row={"prompt": "a", "chosen": "b", "rejected": None}, origin="x:3"),
    ]
    assert len(list(to_samples(raws, wants="pairs", on_reject=lambda *r: rejects.append(r)))) == 1
    assert rejects == [("no-rejected", "x:2"), ("no-rejected", "x:3")]


def test_pairs_from_a_source_without_second_answers_are_refused_at_once() -> None:
    raws = [Raw(row={"query": "a", "response": "b"}, origin="x:1")]
    with pytest.raises(DataError, match="x:1: columns 'query', 'response' hold no second answer"):
        list(to_samples(raws, wants="pairs", on_reject=lambda *r: None))


def test_a_prompt_goes_before_answers_of_several_turns() -> None:
    tool = {"role": "tool", "content": "1"}
    found = read({"prompt": [ASK], "chosen": [SAY, tool, SAY], "rejected": [NO]}, wants="pairs")
    assert [m.role for m in found.chosen] == ["user", "assistant", "tool", "assistant"]
    assert said(found.rejected) == PAIR[1]


def test_lists_may_be_json_text_as_tables_have_them() -> None:
    assert said(read({"messages": json.dumps([ASK, SAY])}).chosen) == QA
    assert said(read({"query": "Hi", "response": "Hello", "history": "[]"}).chosen) == QA


def test_a_renamed_column_wins_over_one_of_that_name() -> None:
    for row in ({"q": "Hi", "query": "old"}, {"query": "old", "q": "Hi"}):
        assert said(read(row | {"response": "Hello"}, columns={"q": "query"}).chosen) == QA


def test_a_named_format_that_the_columns_do_not_fit_is_refused() -> None:
    raws = [Raw(row={"query": "a", "response": "b"}, origin="x:1")]
    with pytest.raises(DataError, match=r"not those of `alpaca` \(alpaca: instruction"):
        list(to_samples(raws, format="alpaca", on_reject=lambda *r: None))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"chosen": "a", "rejected": "b"}, "missing-key"),
        ({"messages": [ASK, SAY, ASK], "rejected_response": "x"}, "no-answer"),
        ({"messages": [ASK, SAY], "rejected_messages": [ASK]}, "no-answer"),
    ],
)
def test_a_bad_pair_is_counted_by_name(row: dict[str, Any], name: str) -> None:
    rejects: list[tuple[str, str]] = []
    raws = [Raw(row=row, origin="x:1")]
    assert not list(to_samples(raws, wants="pairs", on_reject=lambda *r: rejects.append(r)))
    assert rejects == [(name, "x:1")]


def test_unknown_columns_are_answered_with_what_is_known() -> None:
    raws = [Raw(row={"foo": 1, "bar": 2}, origin="x.jsonl:1")]
    with pytest.raises(DataError, match=r"x\.jsonl:1: columns 'foo', 'bar' are no format's"):
        list(to_samples(raws, on_reject=lambda *r: None))


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="write `messages`"):
        list(to_samples([], format="mesages", on_reject=lambda *r: None))


WORDS = st.sampled_from(
    "role content from value messages conversations chosen rejected prompt query response text "
    "history system tools instruction output completion loss rejected_response type label margin "
    "solution images videos rejected_images objects ref bbox bbox_type image_id image_url data "
    "path url bytes name arguments input tool_use_id positive negative positive_messages "
    "negative_messages positive_images kto_tag human assistant input_audio".split()
)
TEXT = st.sampled_from(
    ["", "Hi", "user", "assistant", "tool_call", "\ud800", "[]", "[[", "{}", "image", "tool_use",
     "<image>", "<image><video>", "<ref-object><bbox>", "norm1", "1", "nan", "['x']", "{'a': 1}"]
)  # fmt: skip
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from("text image image_url tool_use tool_result thinking video".split())},
    optional=dict.fromkeys("text image image_url name input content thinking".split(), TEXT),
)
FULL = PAIRED | {"label": True, "positive": "p", "image": "x.jpg", "question": "Q"}
FULL |= {"text": "x", "audio": "x.wav", "bbox": [1, 2, 3, 4], "caption": "x"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool", "function_call"]),
        "content": TEXT | JSON | st.lists(BLOCK, max_size=3),
    },
    optional={"loss": JSON, "tool_calls": JSON, "name": JSON},
)
VALUE = TEXT | st.lists(TURN, max_size=4) | st.lists(TEXT, max_size=2) | JSON


def told(row: dict[str, Any], **options: Any) -> tuple[list[Sample], list[str]]:
    """Return what a row gives after one that is sound, and before the same one again."""
    rejects: list[str] = []
    raws = [Raw(row=FULL, origin="x:1"), *[Raw(row=row, origin="x:2")] * 2]

    def on_reject(name: str, origin: str) -> None:
        rejects.extend([name] if origin == "x:2" else [])

    found = to_samples(raws, on_reject=on_reject, **options)
    return [sample for sample in found if sample.origin == "x:2"], rejects


@pytest.mark.parametrize("how", formats.rows(), ids=lambda f: f.name)
@pytest.mark.parametrize("wants", list(WISHES))
@settings(max_examples=40)
@given(data=st.data())
def test_any_row_is_a_sample_or_a_named_reject(
    how: Format, wants: str, data: st.DataObject
) -> None:
    wanted = {data.draw(st.sampled_from(want.split("|"))): VALUE for want in how.wants}
    row = data.draw(st.dictionaries(WORDS, VALUE, max_size=4))
    row |= data.draw(st.fixed_dictionaries(wanted))
    found, rejects = told(row, wants=wants)
    assert len(found) + len(rejects) in ((2, 4) if wants == "labels" else (2,))
    assert [repr(s) for s in found[: len(found) // 2]] == [
        repr(s) for s in found[len(found) // 2 :]
    ]
    assert all(rejects)
    for sample in found:
        sides = (sample.chosen, sample.rejected, *sample.positives, *sample.negatives)
        assert sample.text or sample.chosen
        assert wants in ("prompts", "classes", "embeddings") or sample.text or answered(sample)
        assert (sample.label is None) == (wants != "labels")
        for turn in (turn for side in sides for turn in side):
            turn.content.encode()  # a tokenizer takes it
        for media in (*sample.media, *sample.rejected_media):
            assert media.source


def answered(sample: Sample) -> bool:
    return any(turn.role == "assistant" for turn in sample.chosen)


@pytest.mark.parametrize("task", ["vqa", "caption", "ocr", "grounding", "asr"])
@given(data=st.data())
def test_any_row_of_a_task_is_a_sample_or_a_named_reject(task: str, data: st.DataObject) -> None:
    columns = [name for want in task_of(task).columns() for name in want.split("|")]
    row = data.draw(st.dictionaries(st.sampled_from(columns) | WORDS, VALUE, max_size=6))
    found, rejects = told(row, task=task)
    assert len(found) + len(rejects) == 2
    assert all(rejects)
    assert all(sample.media and sample.chosen for sample in found)


def test_every_format_says_what_it_is() -> None:
    assert all(f.read.__doc__ for f in formats)
