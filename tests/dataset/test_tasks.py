"""Tasks: a picture or a recording and two columns become a conversation."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import swift
from swift.chat.message import Media, Sample, Thing
from swift.core.errors import DataError
from swift.dataset.formats import to_samples
from swift.dataset.pictures import pictures
from swift.dataset.raw import Raw
from swift.dataset.tasks import Task, instruction, task_of, tasks

INSTRUCTIONS = Path(swift.__file__).parent / "dataset" / "instructions.csv"
DOG = Media(kind="image", source="dog.jpg")


def read(row: dict[str, Any], task: str) -> Sample | str:
    rejects: list[str] = []
    raws = [Raw(row=row, origin="x:1")]
    found = list(to_samples(raws, task=task, on_reject=lambda name, _: rejects.append(name)))
    return found[0] if found else rejects[0]


def sample(row: dict[str, Any], task: str) -> Sample:
    found = read(row, task)
    assert isinstance(found, Sample), found
    return found


@pytest.mark.parametrize(
    "row",
    [
        {"image": "dog.jpg", "question": "What is it?", "answer": "A dog"},
        {"images": ["dog.jpg"], "query": "What is it?", "response": "A dog"},
        {"image_path": "dog.jpg", "prompt": "<image>What is it?", "answer_key": "A dog"},
        {"img": {"path": "dog.jpg"}, "question": "What is it?", "answers": ["A dog"]},
        {"images": ["dog.jpg"], "messages": [{"role": "user", "content": "<image>What is it?"},
                                             {"role": "assistant", "content": "A dog"}]},
        {"image": "dog.jpg", "conversations": [{"from": "human", "value": "<image>What is it?"},
                                               {"from": "gpt", "value": "A dog"}]},
    ],
)  # fmt: skip
def test_a_picture_a_question_and_an_answer(row: dict[str, Any]) -> None:
    found = sample(row, "vqa")
    assert [(m.role, m.content) for m in found.chosen] == [
        ("user", "<image>What is it?"),
        ("assistant", "A dog"),
    ]
    assert found.media == (DOG,)


@pytest.mark.parametrize(
    ("task", "row", "answer"),
    [
        ("caption", {"image": "dog.jpg", "caption": "A dog on the beach"}, "A dog on the beach"),
        ("caption", {"image": "dog.jpg", "text": "海滩上的狗"}, "海滩上的狗"),
        ("ocr", {"image": "dog.jpg", "text": "BEWARE OF THE DOG"}, "BEWARE OF THE DOG"),
        ("ocr", {"image": "dog.jpg", "latex": "x^2"}, "x^2"),
        ("asr", {"audio": {"path": "a.wav"}, "sentence": "Good morning"}, "Good morning"),
        ("asr", {"audio": "a.wav", "text": "早上好"}, "早上好"),
    ],
)
def test_a_row_without_a_question_is_asked_in_its_own_language(
    task: str, row: dict[str, Any], answer: str
) -> None:
    found = sample(row, task)
    asked, told = found.chosen
    tag = "<audio>" if task == "asr" else "<image>"
    language = "en" if answer.isascii() else "zh"
    with INSTRUCTIONS.open(encoding="utf-8", newline="") as file:
        known = {r["text"] for r in csv.DictReader(file)
                 if (r["task"], r["language"]) == (task, language)}  # fmt: skip
    assert len(known) >= 4
    assert asked.content.removeprefix(tag) in known
    assert told.content == answer
    assert sample(row, task) == found


def test_different_rows_are_asked_differently() -> None:
    task = task_of("caption")
    asked = {instruction(task, f"{n}.jpg", "A dog") for n in range(64)}
    assert len(asked) == 4


BOX = [10, 20, 110, 220]


def test_where_a_thing_is() -> None:
    found = sample({"image": "dog.jpg", "ref": "a dog", "bbox": BOX}, "grounding")
    asked, told = found.chosen
    assert asked.content.startswith("<image>")
    assert asked.content.count("<ref-object>") == 1
    assert told.content == "<bbox>"
    assert found.things == (Thing(name="a dog", box=(10, 20, 110, 220)),)


def test_one_name_may_have_several_boxes() -> None:
    row = {"image": "dog.jpg", "label": "sheep", "boxes": [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]}
    found = sample(row | {"bbox_type": "norm1"}, "grounding")
    assert found.chosen[1].content == "<bbox><bbox>"
    assert [(t.name, t.box, t.scale) for t in found.things] == [
        ("sheep", (0, 0, 0.5, 0.5), "unit"),
        ("", (0.5, 0.5, 1, 1), "unit"),
    ]


def test_several_names_each_with_a_box_are_all_answered() -> None:
    found = sample({"image": "dog.jpg", "label": ["狗", "猫"], "bbox": [BOX, BOX]}, "grounding")
    assert "<ref-object>" not in found.chosen[0].content
    assert found.chosen[1].content == "<ref-object><bbox>\n<ref-object><bbox>"
    assert [t.name for t in found.things] == ["狗", "猫"]
    assert not found.chosen[0].content.isascii()


def test_a_rows_own_words_say_what_to_find() -> None:
    row = {"image": "dog.jpg", "question": "Where does it sleep?", "bbox": json.dumps(BOX)}
    found = sample(row, "grounding")
    assert [m.content for m in found.chosen] == ["<image>Where does it sleep?", "<bbox>"]
    assert found.things == (Thing(box=(10, 20, 110, 220)),)


@pytest.mark.parametrize(
    ("task", "row", "name"),
    [
        ("vqa", {"image": "dog.jpg", "question": "", "answer": "A dog"}, "no-question"),
        ("vqa", {"image": "", "question": "What?", "answer": "A dog"}, "no-media"),
        ("vqa", {"question": "What?", "answer": "A dog"}, "no-media"),
        ("vqa", {"image": "dog.jpg", "question": "?", "answers": ["A", "B"]}, "several-answers"),
        ("caption", {"image": "dog.jpg", "caption": " "}, "empty-answer"),
        ("caption", {"image": 7, "caption": "x"}, "broken-media"),
        ("grounding", {"image": "dog.jpg", "ref": "a dog", "bbox": [1, 2, 3]}, "wrong-box"),
        ("grounding", {"image": "dog.jpg", "ref": ["a", "b"], "bbox": [BOX]}, "thing-count"),
        ("grounding", {"image": "dog.jpg", "ref": "a", "bbox": [-5, 0, 3, 3]}, "box-outside"),
        ("grounding", {"image": "dog.jpg", "ref": "a", "bbox": BOX, "bbox_type": "norm1"},
         "box-outside"),
        ("grounding", {"image": "dog.jpg", "ref": "a", "bbox": BOX, "bbox_type": "?"}, "wrong-box"),
        ("grounding", {"image": "dog.jpg", "bbox": BOX, "ref": " "}, "wrong-name"),
        ("asr", {"audio": {"bytes": b""}, "text": "x"}, "empty-media"),
        ("ocr", {"image": "dog.jpg", "text": "\ud800"}, "half-character"),
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_counted_by_name(task: str, row: dict[str, Any], name: str) -> None:
    assert read(row, task) == name


def test_a_pair_about_a_picture_is_a_pair() -> None:
    row = {"image": "dog.jpg", "question": "What is it?", "chosen": "A dog", "rejected": "A cat"}
    raws = [Raw(row=row, origin="x:1")]
    (found,) = to_samples(raws, task="vqa", wants="pairs", on_reject=lambda *r: None)
    assert found.rejected[0].content == "<image>What is it?"
    assert found.media == found.rejected_media == (DOG,)


def test_every_task_says_what_it_is() -> None:
    assert {"chat", "text", "vqa", "caption", "ocr", "grounding", "asr"} <= set(tasks.names())
    assert all(task.says.endswith(".") for task in tasks)


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="write `caption`"):
        list(to_samples([], task="captoin", on_reject=lambda *r: None))


def test_a_plug_ins_task_asks_its_own_question() -> None:
    asked = {"en": ("How many are there?",)}
    task = Task(name="count", says="x.", media=("image",), answers=("n",), instructions=asked)
    found = task.sample({"image": "dog.jpg", "n": 3})
    assert [m.content for m in found.chosen] == ["<image>How many are there?", "3"]


# --- folders ----------------------------------------------------------------------------------


def rows(folder: Path) -> list[tuple[dict[str, Any] | None, str, str]]:
    return [(raw.row, raw.origin, raw.trouble) for raw in pictures(folder)]


@pytest.mark.parametrize("table", ["jsonl", "csv"])
def test_a_table_says_what_is_in_the_pictures(tmp_path: Path, table: str) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "in/b.PNG", "c.jpg"):
        (tmp_path / name).touch()
    columns = ("file_name", "question", "answer")
    said = [("a.jpg", "What?", "A dog"), ("in/b.PNG", "Who?", "Me")]
    with (tmp_path / f"metadata.{table}").open("w", newline="") as file:
        if table == "csv":
            csv.writer(file).writerows([columns, *said])
        else:
            lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in said]
            file.write("\n".join(lines))
    first = 2 if table == "csv" else 1

    def origin(line: int) -> str:
        return f"metadata.{table}:{line}"

    assert rows(tmp_path) == [
        ({"image": "a.jpg", "question": "What?", "answer": "A dog"}, origin(first), ""),
        ({"image": "in/b.PNG", "question": "Who?", "answer": "Me"}, origin(first + 1), ""),
        (None, "c.jpg", "nothing-said"),
    ]  # fmt: skip


def test_a_text_or_a_map_beside_a_picture_says_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.wav", "e.jpg", "f.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("A dog\n")
    (tmp_path / "b.json").write_text('{"question": "What?", "answer": "A cat"}')
    (tmp_path / "c.json").write_text('[{"question": "1?", "answer": "1"}, 7]')
    (tmp_path / "d.txt").write_text("Good morning")
    (tmp_path / "f.json").write_text("{")
    assert rows(tmp_path) == [
        ({"image": "a.jpg", "text": "A dog"}, "a.txt", ""),
        ({"image": "b.jpg", "question": "What?", "answer": "A cat"}, "b.json", ""),
        ({"image": "c.jpg", "question": "1?", "answer": "1"}, "c.json:1", ""),
        (None, "c.json:2", "broken-line"),
        ({"audio": "d.wav", "text": "Good morning"}, "d.txt", ""),
        (None, "e.jpg", "nothing-said"),
        (None, "f.json", "broken-line"),
    ]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no picture, film or recording"),
        (["a.jpg", "b.jpg"], "2 pictures or recordings, and nothing is said of them"),
        (["a.jpg", "metadata.jsonl"], "names no file"),
    ],
)
def test_pictures_alone_are_answered_with_both_ways(
    tmp_path: Path, names: list[str], says: str
) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=says) as found:
        rows(tmp_path)
    if names:
        assert "metadata.jsonl" in str(found.value)
        assert "x.txt" in str(found.value)
    with pytest.raises(DataError, match="there is no folder"):
        rows(tmp_path / "nowhere")


def test_a_folder_becomes_samples(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.txt").write_text("A dog")
    (found,) = to_samples(pictures(tmp_path), task="caption", on_reject=lambda *r: None)
    assert found.media == (Media(kind="image", source="a.jpg"),)
    assert found.origin == "a.txt"
