"""Questions with answers to other questions."""

from __future__ import annotations

import pytest

from swift.chat.message import Message, Sample
from swift.core.errors import DataError
from swift.dataset.others import with_others


def sample(asked: str, answer: str) -> Sample:
    turns = (Message(role="user", content=asked), Message(role="assistant", content=answer))
    return Sample(chosen=turns, origin=answer)


def others(*rows: str) -> list[str]:
    """Return question and other answer of rows such as "A1": question A, answer A1."""
    made = with_others(sample(row[0], row) for row in rows)
    return [one.rejected[0].content + ":" + one.rejected[1].content for one in made]


def test_a_question_gets_the_last_answer_to_another() -> None:
    assert others("A1", "B1", "C1", "A2") == ["A:B1", "B:A1", "C:B1", "A:C1"]


def test_no_question_gets_an_answer_to_itself() -> None:
    assert others("A1", "A2", "B1", "B2", "A3", "A4") == [
        *("A:B1", "A:B1", "B:A2", "B:A2", "A:B2", "A:B2"),
    ]


def test_one_question_alone_has_no_other_answer() -> None:
    with pytest.raises(DataError, match="all 2 rows ask the same"):
        others("A1", "A2")
