"""A registry finds its members and knows the nearest name."""

from __future__ import annotations

import re

import pytest

from swift.core.errors import UserError
from swift.core.registry import Registry
from swift.core.schema import Component
from swift.tuner import tuners
from swift.tuner.lora import Lora


def test_the_members_are_the_public_files_of_the_folder() -> None:
    assert {"freeze", "full", "lora"} <= set(tuners)
    assert tuners.get("lora") is Lora
    assert Lora.name == "lora"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=re.escape("no tuner `lroa`\n     fix: write `lora`")):
        tuners.get("lroa")


def test_a_member_is_made_of_a_word_a_map_or_itself() -> None:
    assert tuners.make("lora") == Lora()
    assert tuners.make({"name": "lora", "rank": 4}) == Lora(rank=4)
    assert tuners.make(Lora(rank=4)) == Lora(rank=4)


def test_a_name_is_taken_once() -> None:
    registry: Registry[Component] = Registry("thing", "swift.chat")

    class Thing(Component):
        """A thing."""

    registry.add("thing")(Thing)
    with pytest.raises(ValueError, match="registered twice"):
        registry.add("thing")(Thing)


def test_a_member_is_written_with_its_name() -> None:
    assert Lora(rank=4).model_dump(exclude_unset=True) == {"name": "lora", "rank": 4}
