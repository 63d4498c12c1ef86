"""Values explain themselves: their documentation, and what their fields take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from swift.core.schema import Value, documentation, kind, shown, summary, takes


class Sample(Value):
    """A value of the test."""

    shorthand: ClassVar[str] = "word"

    word: str = "x"
    """A word. Any word."""

    count: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """How many."""

    share: float = Field(default=0.5, ge=0, lt=1)
    """How much."""

    flag: bool | None = None
    names: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    table: Mapping[str, str] = Field(default_factory=dict)


class Longer(Sample):
    """With one field more."""

    more: int = 0
    """Its own."""


def test_the_text_under_a_field_documents_it() -> None:
    assert documentation(Sample) == {
        "word": "A word. Any word.",
        "count": "How many.",
        "share": "How much.",
    }


def test_documentation_is_inherited() -> None:
    assert documentation(Longer)["share"] == "How much."
    assert documentation(Longer)["more"] == "Its own."


@pytest.mark.parametrize(
    ("field", "words", "types"),
    [
        ("word", "text", "str"),
        ("count", "a whole number of at least 1 or `auto`", "int|auto"),
        ("share", "a number of at least 0 and below 1", "float"),
        ("flag", "true, false or null", "bool|null"),
        ("names", "a list, each text", "list"),
        ("pair", "a list of 2, each a number", "list"),
        ("table", "a map", "map"),
    ],
)
def test_a_field_says_what_it_takes(field: str, words: str, types: str) -> None:
    info = Sample.model_fields[field]
    assert (takes(info), kind(info)) == (words, types)


def test_a_word_alone_sets_the_main_field() -> None:
    assert Sample.model_validate("y") == Sample(word="y")


def test_a_value_is_frozen_and_refuses_other_keys() -> None:
    value = Sample()
    with pytest.raises(ValidationError, match="frozen"):
        value.word = "y"  # type: ignore[misc]  # the point
    with pytest.raises(ValidationError, match="Extra inputs"):
        Sample.model_validate({"wrod": "y"})
    with pytest.raises(ValidationError, match="finite"):
        Sample(share=float("nan"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("A word. Any.", "A word"), ("No stop", "No stop"), ("0.5 of\n  it. B", "0.5 of it")],
)
def test_a_summary_is_the_first_sentence(text: str, sentence: str) -> None:
    assert summary(text) == sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (None, "null"), ("", '""'), ([1, "a"], "[1, a]"), ({"a": True}, "{a: true}")],
)
def test_a_value_is_shown_as_yaml_writes_it(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown("x" * 100)) == 60
