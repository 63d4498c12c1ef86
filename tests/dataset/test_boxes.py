"""Boxes: from any scale to what a family writes, in the size that the model sees."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.chat.message import Message, Thing
from swift.dataset.boxes import (
    Picture,
    Size,
    box_styles,
    numbers,
    resized,
    things_of,
    unit_box,
    written,
)
from swift.dataset.rejects import Reject

SEEN = Picture(stored=Size(800, 400), seen=Size(400, 200))
TURNS = (
    Message(role="user", content="Find <ref-object>"),
    Message(role="assistant", content="<ref-object><bbox>, <bbox>"),
)
THINGS = (
    Thing(name="a dog", box=(80, 40, 160, 200)),
    Thing(name='the "dog"', box=(0, 0, 800, 400)),
)


@pytest.mark.parametrize(
    ("style", "asked", "told"),
    [
        ("plain", "Find a dog", 'the "dog"[100, 100, 200, 500], [0, 0, 1000, 1000]'),
        ("pixels", "Find a dog", 'the "dog"[40, 20, 80, 100], [0, 0, 400, 200]'),
        (
            "qwen_vl",
            "Find <ref>a dog</ref>",
            '<ref>the "dog"</ref><box>(100,100),(200,500)</box>, <box>(0,0),(1000,1000)</box>',
        ),
        (
            "qwen2_vl",
            "Find <|object_ref_start|>a dog<|object_ref_end|>",
            '<|object_ref_start|>the "dog"<|object_ref_end|>'
            "<|box_start|>(100,100),(200,500)<|box_end|>, "
            "<|box_start|>(0,0),(1000,1000)<|box_end|>",
        ),
        (
            "qwen2_5_vl",
            "Find a dog",
            '{"bbox_2d": [40, 20, 80, 100], "label": "the \\"dog\\""}, [0, 0, 400, 200]',
        ),
        (
            "qwen3_vl",
            "Find a dog",
            '{"bbox_2d": [100, 100, 200, 500], "label": "the \\"dog\\""}, [0, 0, 1000, 1000]',
        ),
        (
            "internvl",
            "Find <ref>a dog</ref>",
            '<ref>the "dog"</ref><box>[[100, 100, 200, 500]]</box>, '
            "<box>[[0, 0, 1000, 1000]]</box>",
        ),
        (
            "deepseek_vl2",
            "Find <|ref|>a dog<|/ref|>",
            '<|ref|>the "dog"<|/ref|><|det|>[[100, 100, 200, 500]]<|/det|>, '
            "<|det|>[[0, 0, 999, 999]]<|/det|>",
        ),
        ("cogvlm", "Find a dog", 'the "dog"[[100,100,200,500]], [[000,000,999,999]]'),
    ],
)
def test_each_family_has_its_spelling(style: str, asked: str, told: str) -> None:
    row = box_styles.get(style)
    assert row is not None
    found = written(TURNS, THINGS, row, [SEEN])
    assert [turn.content for turn in found] == [asked, told]


def test_every_style_is_spelt_above() -> None:
    marks = test_each_family_has_its_spelling.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(box_styles.names())


@pytest.mark.parametrize("style", box_styles.rows(), ids=lambda style: style.name)
def test_a_point_is_two_numbers(style: object) -> None:
    turns = [Message(role="assistant", content="<bbox>")]
    (found,) = written(turns, [Thing(box=(400, 100))], style, [SEEN])  # type: ignore[arg-type]
    digits = [int(text) for text in re.findall("[0-9]+", found.content)]
    expected = {"pixels": [200, 50], "1000": [500, 250], "999": [500, 250]}
    assert digits == expected[style.scale]  # type: ignore[attr-defined]


SIZES = st.builds(Size, st.integers(1, 4096), st.integers(1, 4096))


@st.composite
def things(draw: st.DrawFn, stored: Size) -> Thing:
    scale = draw(st.sampled_from(["pixels", "unit", "thousand"]))
    sides = {"pixels": stored, "unit": Size(1, 1), "thousand": Size(1000, 1000)}[scale]
    share = st.floats(0, 1, allow_nan=False)
    corners = [draw(share) * side for side in (*sides, *sides)]
    (x1, x2), (y1, y2) = sorted(corners[::2]), sorted(corners[1::2])
    return Thing(box=(x1, y1, x2, y2), scale=scale)  # type: ignore[arg-type]


@given(data=st.data(), stored=SIZES, seen=SIZES)
def test_what_is_written_is_within_one_unit_of_where_it_was(
    data: st.DataObject, stored: Size, seen: Size
) -> None:
    thing = data.draw(things(stored))
    shares = unit_box(thing, stored)
    for style in box_styles:
        found = numbers(thing, style, Picture(stored, seen))
        sides = seen if style.scale == "pixels" else Size(int(style.scale), int(style.scale))
        for value, share, side in zip(found, shares, sides * 2, strict=True):
            assert 0 <= value <= side
            assert abs(value - share * side) <= 0.5 + 1e-6
        x1, y1, x2, y2 = found
        assert x1 <= x2
        assert y1 <= y2


@given(data=st.data(), old=SIZES, new=SIZES)
def test_a_resized_box_covers_the_same_share(data: st.DataObject, old: Size, new: Size) -> None:
    thing = data.draw(things(old).filter(lambda thing: thing.scale == "pixels"))
    there = resized(thing.box, old, new)
    assert unit_box(Thing(box=there), new) == pytest.approx(unit_box(thing, old), abs=1e-9)
    assert resized(there, new, old) == pytest.approx(thing.box, abs=1e-6)


@given(stored=SIZES, beyond=st.floats(0.51, 1e6), side=st.integers(0, 3))
def test_a_box_outside_its_picture_is_refused(stored: Size, beyond: float, side: int) -> None:
    box = [0.0, 0.0, *map(float, stored)]
    box[side] = -beyond if side < 2 else box[side] + beyond
    with pytest.raises(Reject, match="box-outside"):
        unit_box(Thing(box=tuple(box)), stored)


def test_a_box_half_a_pixel_outside_is_clipped() -> None:
    assert unit_box(Thing(box=(-0.4, 0, 100.4, 50)), Size(100, 50)) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"bbox": [[1, 2, 3]]}, "wrong-box"),
        ({"bbox": [[1, 2, 3, "x"]]}, "wrong-box"),
        ({"bbox": [[1, 2, 3, float("nan")]]}, "wrong-box"),
        ({"bbox": [[1, 2, 3, True]]}, "wrong-box"),
        ({"bbox": [[1, 2, 3, 4]], "bbox_type": "inches"}, "wrong-box"),
        ({"bbox": [[1, 2, 3, 4]], "bbox_type": "norm1"}, "box-outside"),
        ({"bbox": [[1, 2, 3, 1001]], "bbox_type": "norm1000"}, "box-outside"),
        ({"bbox": [[-1, 2, 3, 4]]}, "box-outside"),
        ({"bbox": [[1, 2, 300, 4]], "width": 200, "height": 100}, "box-outside"),
        ({"bbox": [[1, 2, 3, 4]], "image_id": [-1]}, "wrong-image"),
        ({"bbox": [[1, 2, 3, 4]], "image_id": [0, 0]}, "wrong-image"),
        ({"ref": [""], "bbox": [[1, 2, 3, 4]]}, "wrong-name"),
        ({"ref": "dog", "bbox": [[1, 2, 3, 4]]}, "wrong-box"),
    ],
)
def test_what_is_no_box_is_a_named_reject(said: object, name: str) -> None:
    with pytest.raises(Reject, match=name):
        things_of(said)


def test_a_column_called_objects_may_be_anything_else() -> None:
    assert things_of(["a cup", "a plate"]) is None
    assert things_of({"colour": "red"}) is None


@pytest.mark.parametrize(
    ("things", "name"),
    [
        (THINGS[:1], "thing-count"),
        ((THINGS[0], Thing(name="x", box=(0, 0, 1, 1), image=1)), "wrong-image"),
    ],
)
def test_a_place_without_a_thing_is_refused(things: tuple[Thing, ...], name: str) -> None:
    with pytest.raises(Reject, match=name):
        written(TURNS, things, box_styles.rows()[0], [SEEN])
