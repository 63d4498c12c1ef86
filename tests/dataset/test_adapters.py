"""Rows of the shapes that public data sets have, and the columns that they become."""

from __future__ import annotations

from typing import Any

import pytest

from swift.core.errors import DataError
from swift.dataset.adapters import Adapt, adapter, adapter_of
from swift.dataset.names import find_row
from swift.dataset.raw import Raw

Row = dict[str, Any]

BYTES = {"bytes": b"\x89PNG", "path": "a.png"}
TOOL = {"name": "sum", "description": "", "parameters": {"a": {"type": "int"}}}
CALL = {"name": "sum", "arguments": {"a": 1}}


def adapted(name: str, row: Row) -> list[Raw]:
    """Return what rows of the data set `name` ("grit:caption") become."""
    stem, _, subset = name.partition(":")
    found = find_row(stem)
    assert found is not None
    said = adapter_of(found.adapter, (subset,) if subset else found.subsets[:1])
    return list(Adapt(said)([Raw(row=row, origin="a:1")]))


@pytest.mark.parametrize(
    ("name", "row", "has"),
    [
        ("100poisonmpts", {"prompt": "q", "answer": "a"}, {"query": "q", "response": "a"}),
        (
            "databricks-dolly-15k",
            {"instruction": "i", "context": "c", "response": "r", "category": "qa"},
            {"instruction": "i", "input": "c", "output": "r"},
        ),
        ("ruozhiba:title-good", {"title": "t", "abs": None}, {"text": "t"}),
        ("ruozhiba:post-annual", {"title": "t", "content": "c"}, {"text": "t\nc"}),
        ("falcon-refinedweb", {"content": "c", "url": "u"}, {"text": "c"}),
        (
            "synthetic_text_to_sql",
            {"sql_prompt": "p", "sql_context": "c", "sql": "s", "sql_explanation": "e"},
            {"query": "c\n\np", "response": "e\n\ns"},
        ),
        (
            "leetcode-solutions-python",
            {"code_with_problem": "add\n\n```python\n1\n```", "explanation_only": "so"},
            {"query": "add", "response": "```python\n1\n```\n\nso"},
        ),
        (
            "dureader_robust-qg",
            {"text1": "passage[SEP]answer", "text2": "question"},
            {"response": "question", "passage": "passage", "answer": "answer"},
        ),
        ("clue", {"sentence1": "x", "sentence2": "y", "label": 2}, {"response": "contradiction"}),
        ("jd", {"sentence": "x", "label": 1.0}, {"response": "positive"}),
        ("jd:cls", {"sentence": "x", "label": 1}, {"query": "x", "label": 1}),
        (
            "stsb",
            {"sentence1": "x", "sentence2": "y", "score": 0.5},
            {
                "messages": [{"role": "user", "content": "x"}],
                "positive_messages": [[{"role": "user", "content": "y"}]],
                "label": 0.5,
            },
        ),
        ("stsb:reg", {"sentence1": "x", "sentence2": "y", "score": 0.5}, {"label": 0.5}),
        (
            "scidocs-reranking",
            {"query": "q", "positive": ["p"], "negative": ["n", "m"]},
            {
                "positive_messages": [[{"role": "assistant", "content": "p"}]],
                "negative_messages": [
                    [{"role": "assistant", "content": "n"}],
                    [{"role": "assistant", "content": "m"}],
                ],
            },
        ),
        (
            "countdown-tasks-3to4",
            {"target": 98, "nums": [44, 19, 35]},
            {
                "query": "Make 98 of the numbers [44, 19, 35], each used once, "
                "with + - * / and brackets.",
                "solution": "98",
            },
        ),
        (
            "hc3:finance",
            {"question": "q", "human_answers": ["a", "b"], "chatgpt_answers": ["c"]},
            {"query": "q", "response": "a"},
        ),
        (
            "hh-rlhf",
            {
                "chosen": "\n\nHuman: hi\n\nAssistant: yes\n\nno",
                "rejected": "\n\nHuman: hi\n\nAssistant: no",
            },
            {
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": "yes\n\nno"},
                ],
                "rejected_messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": "no"},
                ],
            },
        ),
        (
            "hh_rlhf_cn",
            {
                "context": [{"role": "human", "text": "hi"}],
                "chosen": {"role": "assistant", "text": "yes"},
                "rejected": {"role": "assistant", "text": "no"},
            },
            {
                "messages": [
                    {"role": "human", "content": "hi"},
                    {"role": "assistant", "content": "yes"},
                ],
                "rejected_response": "no",
            },
        ),
        (
            "xlam-function-calling-60k",
            {"query": "q", "answers": f"[{str(CALL).replace(chr(39), chr(34))}]", "tools": [TOOL]},
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"type": "function", "function": CALL}],
                    },
                ],
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            **TOOL,
                            "parameters": {"type": "object", "properties": TOOL["parameters"]},
                        },
                    }
                ],
            },
        ),
        ("rlaif-v-dataset", {"image": BYTES, "question": "q", "chosen": "c", "rejected": "r"},
         {"images": [BYTES], "query": "q", "response": "c", "rejected_response": "r"}),
        ("gqa", {"imageId": "n1", "question": "q", "fullAnswer": "a", "answer": "b"},
         {"images": ["n1.jpg"], "query": "q", "response": "a"}),
        ("m3it", {"instruction": "s", "inputs": "q", "outputs": "a",
                  "image_base64_str": ["AA==", "BB=="]},
         {"images": ["data:image/jpeg;base64,AA==", "data:image/jpeg;base64,BB=="],
          "system": "s", "query": "q", "response": "a"}),
        ("sa1b-dense-caption", {"url": "u", "cap_seg": "{'global_caption': 'it\\'s', 'n': None}"},
         {"images": ["u"], "response": "it's"}),
        ("speech_asr_aishell1_trainsets", {"Audio:FILE": "a.wav", "Text:LABEL": "好"},
         {"audios": ["a.wav"], "response": "好"}),
        ("lnqa", {"image": BYTES, "qa": [{"question": "q", "answer": "a"}]},
         {"images": [BYTES], "messages": [{"role": "user", "content": "q"},
                                          {"role": "assistant", "content": "a"}]}),
        ("mideficsdataset",
         {"image": BYTES, "conversation": {"data": [{"question": "q", "answer": "a"}]}},
         {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        ("scienceqa", {"image": None, "question": "q", "choices": ["x", "y"], "answer": 1,
                       "solution": "since"},
         {"images": [], "query": "q\nA. x\nB. y", "response": "since\nB"}),
        ("egoschema", {"video_idx": "v", "question": "q", "option": ["A. x", "B. y"],
                       "answer": "0"},
         {"videos": ["videos/v.mp4"], "query": "q\nA. x\nB. y", "response": "A"}),
        ("refcoco:caption",
         {"image_path": "a.jpg", "bbox": [1.0, 2.0, 3.0, 4.0], "captions": ["cat", "a cat"]},
         {"images": ["a.jpg"], "response": "cat", "objects":
          {"ref": ["cat"], "bbox": [[1.0, 2.0, 3.0, 4.0]], "bbox_type": "real"}}),
        ("refcoco:grounding",
         {"image_path": "a.jpg", "bbox": [1.0, 2.0, 3.0, 4.0], "captions": ["cat"]},
         {"query": "<image>Where is <ref-object>?", "response": "<bbox>"}),
        ("grit", {"url": "u", "caption": "a dog and a cat",
                  "ref_exps": [[10.0, 15.0, 0.5, 0.0, 1.0, 1.0, 0.9], [0, 5, 0, 0, 0.5, 1, 0.9]]},
         {"response": "<ref-object><bbox> and <ref-object><bbox>", "objects":
          {"ref": ["a dog", "a cat"], "bbox": [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]],
           "bbox_type": "norm1"}}),
        ("grit:caption", {"url": "u", "caption": "a dog", "ref_exps": []}, {"response": "a dog"}),
        ("latex_ocr:small", {"image": BYTES, "text": "x^2"}, {"response": "x^2"}),
        ("medical_zh:zh", {"instruction": "q", "input": "", "output": "a"},
         {"query": "q", "response": "a"}),
        ("medical_zh:en", {"instruction": "i", "input": "q", "output": "a"},
         {"query": "q", "response": "a"}),
        ("r1-distill-sft:v1", {"messages": [1], "reannotated_messages": [2]}, {"messages": [2]}),
        ("chartqa", {"image": BYTES, "query": "q", "label": ["14"]}, {"response": "14"}),
    ],
)  # fmt: skip
def test_a_row_of_the_real_shape_becomes_columns_that_formats_know(
    name: str, row: Row, has: Row
) -> None:
    (made,) = adapted(name, row)
    assert made.row is not None, made
    assert made.row | has == made.row, made.row
    assert made.origin == "a:1"


def test_one_row_of_many_questions_is_many_rows_each_with_its_number() -> None:
    row = {"image": BYTES, "questions": ["a", "b"], "answers": ["x", "y"]}
    made = adapted("ocr-vqa", row)
    assert [(raw.origin, raw.row and raw.row["response"]) for raw in made] == [
        ("a:1/1", "x"),
        ("a:1/2", "y"),
    ]
    film = {"info": {"video_path": "v.mp4"}, "global": [{"question": "q", "answer": "a"}] * 2}
    assert len(adapted("moviechat-1k-test", film)) == 2


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("clue", {"sentence1": "x", "sentence2": "y", "label": -1}),
        ("ocr-vqa", {"image": BYTES, "questions": ["a"], "answers": []}),
        ("hh-rlhf", {"chosen": "hi", "rejected": "no"}),
        ("scienceqa", {"image": None, "question": "q", "choices": ["x"], "answer": 4}),
        ("hc3:finance", {"question": "q", "human_answers": []}),
        ("xlam-function-calling-60k", {"query": "q", "answers": "{", "tools": "[]"}),
        ("gqa", {"question": "q"}),
    ],
)
def test_a_row_of_another_shape_is_a_named_reject(name: str, row: Row) -> None:
    (made,) = adapted(name, row)
    assert (made.row, made.trouble) == (None, "wrong-shape")


def test_a_row_that_a_step_leaves_out_is_a_named_reject() -> None:
    raws = [Raw(row={"kind": kind}, origin=kind) for kind in "ab"]
    made = list(Adapt("keep kind=a")(raws))
    assert [raw.trouble for raw in made] == ["", "left-out"]


def test_a_broken_line_stays_one() -> None:
    broken = Raw(row=None, origin="a:1", trouble="broken-line")
    assert list(Adapt("rename a>b")([broken])) == [broken]


def test_subsets_of_different_columns_are_not_read_as_one() -> None:
    row = find_row("medical_zh")
    assert row is not None
    with pytest.raises(DataError, match=r"a data set for each"):
        adapter_of(row.adapter, ("all",))


def test_a_step_that_does_not_exist_gets_the_nearest_name() -> None:
    with pytest.raises(DataError, match="write `rename`"):
        Adapt("renam a>b")


def test_a_plug_in_adds_a_step() -> None:
    from swift.core.table import additions

    with pytest.raises(ZeroDivisionError), additions():  # which takes it out again

        @adapter("twice")
        def twice(row: Any, words: Any) -> Any:
            return [row, row]

        assert len(list(Adapt("twice")([Raw(row={}, origin="a")]))) == 2
        raise ZeroDivisionError
