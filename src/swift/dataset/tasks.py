"""Tasks: the shape of a sample, and what makes one of a picture or a recording and two columns."""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from swift.chat.message import Media, Message, Sample
from swift.core.errors import DataError, Problem, nearest
from swift.core.table import Table
from swift.dataset.boxes import BOX, NAME, one_thing
from swift.dataset.media import media_of
from swift.dataset.rejects import Reject, Row, encodable, first, listed

_TABLE, _INSTRUCTIONS = (Path(__file__).with_name(f"{n}.csv") for n in ("tasks", "instructions"))

MEDIA_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "images", "image_path", "img", "picture", "file_name"),
    "video": ("video", "videos", "video_path"),
    "audio": ("audio", "audios", "audio_path", "wav", "file_name"),
}
"""What data sets call the column of a picture, a film, a recording."""

_HAN = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True, kw_only=True)
class Task:
    """The shape of a sample: a row of tasks.csv, or a plug-in's."""

    name: str
    """The YAML word."""

    says: str
    """What a sample of it is, for people."""

    also: tuple[str, ...] = ()
    """Other words for it, in lower case, with _ between words."""

    media: tuple[str, ...] = ()
    """Kinds of media of which each sample must have one; () for none."""

    questions: tuple[str, ...] = ()
    """Columns of a question; a row without one gets an instruction, if the task has any."""

    answers: tuple[str, ...] = ()
    """Columns of the answer, of boxes for grounding. () where samples come in formats alone."""

    instructions: Mapping[str, tuple[str, ...]] | None = None
    """Language ("en", "zh") -> what is asked where a row does not; None: as instructions.csv."""

    read: Callable[[Row], Sample] | None = None
    """Makes a sample of a row; None: of a medium, a question and an answer."""

    def columns(self) -> tuple[str, ...]:
        """Return the columns that a row must have, alternatives joined by "|"."""
        named = (name for kind in self.media for name in MEDIA_COLUMNS[kind])
        return tuple("|".join(dict.fromkeys(names)) for names in (named, self.answers) if names)

    def sample(self, row: Row) -> Sample:
        """Return the turns of a row.

        Raises:
            Reject: It gives none.
        """
        if self.read is not None:
            return self.read(row)
        kind, media = _media(row, self.media)
        make = _grounded if self.name == "grounding" else _answered
        return make(self, row, media, f"<{kind}>" * len(media))


def _rows() -> Iterator[Task]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Task(
                name=row["name"],
                says=row["says"],
                also=_cell(row["also"]),
                media=_cell(row["media"]),
                questions=_cell(row["questions"]),
                answers=_cell(row["answers"]),
            )


def _cell(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split("|")))


tasks: Table[Task] = Table("task", _rows, lambda task: task.name)
"""All of them. A plug-in adds one with `tasks.add(Task(...))`."""


def word_for(said: str) -> str:
    """Return the name of the task that somebody calls so; what was said, where there is none."""
    plain = said.lower().replace("-", "_")
    for task in tasks:
        if plain in (task.name, *task.also):
            return task.name
    return said


def task_of(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        DataError: There is none.
    """
    found = tasks.get(name)
    if found is None:
        what = f"there is no task `{name}`"
        raise DataError(Problem(where="task", what=what, fix=nearest(name, tasks.names())))
    return found


def instruction(task: Task, row_says: str, answer: str, kind: str = "") -> str:
    """Return what is asked where a row does not ask: the same for the same row, in its language.

    Args:
        task: The task.
        row_says: What tells rows apart: the source of the medium.
        answer: What is answered; in Han characters, it is asked in Chinese.
        kind: Another name in instructions.csv than the task's.
    """
    known = task.instructions or _instructions().get(kind or task.name, {})
    language = "zh" if _HAN.search(answer) else "en"
    texts = known.get(language) or next(iter(known.values()), ())
    if not texts:
        raise Reject("no-question")
    return texts[zlib.crc32(f"{row_says}\0{answer}".encode()) % len(texts)]


@cache
def _instructions() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    with _INSTRUCTIONS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            texts = found.setdefault(row["task"], {})
            texts[row["language"]] = (*texts.get(row["language"], ()), row["text"])
    return found


def _media(row: Row, kinds: tuple[str, ...]) -> tuple[str, tuple[Media, ...]]:
    """Return the media of the first column that has any."""
    for kind in kinds:
        for name in MEDIA_COLUMNS[kind]:
            said = row.get(name)
            if said is None or said == "":
                continue
            if isinstance(said, str) and said.lstrip().startswith("["):
                said = listed(said)
            several = said if isinstance(said, list | tuple) else (said,)
            if not several:
                continue
            return kind, tuple(media_of(kind, one) for one in several)
    raise Reject("no-media")


def _answered(task: Task, row: Row, media: tuple[Media, ...], tags: str) -> Sample:
    answer = _text(first(row, task.answers))
    asked = _asked(task, row) or instruction(task, media[0].source, answer)
    return _sample(row, asked, answer, media, tags)


def _grounded(task: Task, row: Row, media: tuple[Media, ...], tags: str) -> Sample:
    """One name, and where it is, perhaps more than once; or several names, each with a box."""
    boxes = listed(first(row, task.answers))
    if not isinstance(boxes, list | tuple) or not boxes:
        raise Reject("wrong-box")
    boxes = list(boxes) if isinstance(boxes[0], list | tuple | dict) else [boxes]
    name = next((row[n] for n in _NAMES if row.get(n) is not None), None)
    several = name if isinstance(name, list | tuple) else None
    names = list(several) if several is not None else [name] + [None] * (len(boxes) - 1)
    if len(names) != len(boxes):
        raise Reject("thing-count")
    scale = row.get("bbox_type")
    things = tuple(one_thing(n, box, scale) for n, box in zip(names, boxes, strict=True))
    asked = _asked(task, row)
    if several is not None:
        asked = asked or instruction(task, media[0].source, str(several[0]), "detection")
        answer = "\n".join(NAME + BOX for _ in boxes)
    else:
        asked = asked or instruction(task, media[0].source, str(name or ""))
        answer = BOX * len(boxes)
        if NAME not in asked:  # it says in its own words what is to be found
            things = tuple(replace(thing, name="") for thing in things)
    made = _sample(row, asked, answer, media, tags)
    return replace(made, things=things)


_NAMES = ("ref", "phrase", "expression", "object", "caption", "label", "name", "category")


def _asked(task: Task, row: Row) -> str:
    """Return the row's own question; "" where it has none."""
    said = next((row[name] for name in task.questions if row.get(name) not in (None, "")), "")
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    encodable(said)
    return said.strip() and said


def _text(said: Any) -> str:
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    if isinstance(said, list):
        raise Reject("several-answers")
    if isinstance(said, int | float) and not isinstance(said, bool):
        said = str(said)
    if not isinstance(said, str):
        raise Reject("wrong-shape")
    if not said.strip():
        raise Reject("empty-answer")
    encodable(said)
    return said


def _sample(row: Row, asked: str, answer: str, media: tuple[Media, ...], tags: str) -> Sample:
    """Return a question about media and its answer; tags that the question has stay in place."""
    if media and f"<{media[0].kind}>" not in asked:
        asked = tags + asked
    turns = (Message(role="user", content=asked), Message(role="assistant", content=answer))
    system = row.get("system")
    lead = (Message(role="system", content=_text(system)),) if system else ()
    return Sample(chosen=(*lead, *turns), media=media)
