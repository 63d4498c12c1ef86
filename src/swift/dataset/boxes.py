"""Things in pictures: their names and boxes as rows give them, and as families of models write.

A box is x1, y1, x2, y2 from the upper left corner (a point: x, y), in pixels of the picture as it
is stored, or of sides 1, or of sides 1000. A model sees the picture in another size, and most
families write whole numbers of sides 1000 or 999: a box is kept as it came until both are known.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from swift.chat.message import Message, Sample, Thing
from swift.core.table import Table
from swift.dataset.rejects import Reject, Row, encodable, listed, number

NAME, BOX = "<ref-object>", "<bbox>"
"""The places of a name and of a box in a text."""

Scale = Literal["pixels", "unit", "thousand"]

_SCALES: Mapping[str, Scale] = {
    "real": "pixels",
    "pixels": "pixels",
    "norm1": "unit",
    "unit": "unit",
    "norm1000": "thousand",
    "thousand": "thousand",
}
_NAMES = ("ref", "caption", "label", "name", "phrase", "category")
_BOXES = ("bbox", "box", "bbox_2d", "point")
_PLACES = re.compile(f"{NAME}{BOX}|{NAME}|{BOX}")


class Size(NamedTuple):
    """Of a picture, in pixels."""

    width: int
    height: int


class Picture(NamedTuple):
    """A picture's size as it is stored, and as the model sees it."""

    stored: Size
    seen: Size


@dataclass(frozen=True, kw_only=True)
class BoxStyle:
    """How a family of models writes names and boxes: a row of boxes.csv."""

    name: str

    scale: str
    """What the numbers are of: `pixels` of the picture as the model sees it, or of such sides."""

    ref: str
    """A name, at {name}."""

    box: str
    """A box, at {x1} {y1} {x2} {y2}."""

    point: str
    """A point, at {x1} {y1}."""

    pair: str = ""
    """A name and a box that stand together, with the name as JSON at {json}; empty: one after the
    other."""


def _styles() -> Iterator[BoxStyle]:
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        yield from (BoxStyle(**row) for row in csv.DictReader(file))


box_styles: Table[BoxStyle] = Table("box style", _styles, lambda style: style.name)
"""How families of models write boxes. A plug-in adds one with `box_styles.add(BoxStyle(...))`."""


def unit_box(thing: Thing, stored: Size) -> tuple[float, ...]:
    """Return a thing's box as shares of the picture's sides, in [0, 1].

    Raises:
        Reject: It is outside the picture, by more than half a unit of its scale.
    """
    sides = {"pixels": stored, "unit": Size(1, 1), "thousand": Size(1000, 1000)}[thing.scale]
    spare = 0.0 if thing.scale == "unit" else 0.5
    found = []
    for value, side in zip(thing.box, sides * 2, strict=False):
        if not -spare <= value <= side + spare:
            raise Reject("box-outside")
        found.append(min(max(value / side, 0.0), 1.0))
    return tuple(found)


def resized(box: Sequence[float], old: Size, new: Size) -> tuple[float, ...]:
    """Return a box in pixels of a picture of size `old` as one of the picture in size `new`."""
    shares = (new.width / old.width, new.height / old.height)
    return tuple(value * shares[i % 2] for i, value in enumerate(box))


def numbers(thing: Thing, style: BoxStyle, picture: Picture) -> tuple[int, ...]:
    """Return a thing's box in the whole numbers that a family writes.

    Raises:
        Reject: The box is outside the picture.
    """
    sides = picture.seen if style.scale == "pixels" else Size(int(style.scale), int(style.scale))
    shares = unit_box(thing, picture.stored)
    return tuple(round(share * sides[i % 2]) for i, share in enumerate(shares))


def written(
    turns: Iterable[Message], things: Sequence[Thing], style: BoxStyle, pictures: Sequence[Picture]
) -> tuple[Message, ...]:
    """Return the turns with every place of a name or a box filled as a family writes it.

    Args:
        turns: Of a sample, with `<ref-object>` and `<bbox>` where names and boxes stand.
        things: Of the sample.
        style: The family's.
        pictures: The sizes of the sample's pictures, in their order.

    Raises:
        Reject: A box is outside its picture, or there are not as many as places.
    """
    names = iter([thing.name for thing in things if thing.name])
    boxed = iter([thing for thing in things if thing.box])

    def place(found: re.Match[str]) -> str:
        thing = next(boxed) if BOX in found[0] else None
        name = next(names) if NAME in found[0] else ""
        return _spelt(name, thing, style, pictures)

    try:
        return tuple(
            replace(turn, content=_PLACES.sub(place, turn.content)) if things else turn
            for turn in turns
        )
    except (StopIteration, RuntimeError) as error:
        raise Reject("thing-count") from error


def _spelt(name: str, thing: Thing | None, style: BoxStyle, pictures: Sequence[Picture]) -> str:
    named = style.ref.format(name=name) if name else ""
    if thing is None:
        return named
    if thing.image >= len(pictures):
        raise Reject("wrong-image")
    values = numbers(thing, style, pictures[thing.image])
    at = dict(zip(("x1", "y1", "x2", "y2"), values, strict=False))
    if len(values) == 2:
        return named + style.point.format(**at)
    if name and style.pair:
        return style.pair.format(**at, json=json.dumps(name, ensure_ascii=False))
    return named + style.box.format(**at)


def with_things(sample: Sample, row: Row) -> Sample:
    """Return the sample with the names and boxes of the row's `objects`, if these are such.

    Raises:
        Reject: Names and boxes are not as many as their places, or a box is none.
    """
    things = things_of(row["objects"])
    return sample if things is None else boxed(sample, things)


def boxed(sample: Sample, things: tuple[Thing, ...]) -> Sample:
    """Return the sample with things whose places its messages hold.

    Raises:
        Reject: They are not as many as their places, or of a picture that is not there.
    """
    names = sum(1 for thing in things if thing.name)
    boxes = sum(1 for thing in things if thing.box)
    for turns in filter(None, (sample.chosen, sample.rejected)):
        text = "\0".join(turn.content for turn in turns)
        if (text.count(NAME), text.count(BOX)) != (names, boxes):
            raise Reject("thing-count")
    pictures = sum(1 for media in sample.media if media.kind == "image")
    if any(thing.image and thing.image >= pictures for thing in things):
        raise Reject("wrong-image")
    return replace(sample, things=things)


def things_of(said: Any) -> tuple[Thing, ...] | None:
    """Return the things of an `objects` column: a map of lists, or a list of maps; else None.

    Raises:
        Reject: A box is none, or outside the picture as far as can be told.
    """
    said = listed(said)
    if isinstance(said, list) and said and all(_is_thing(one) for one in said):
        return tuple(_one(one) for one in said)
    if not isinstance(said, Mapping) or not any(key in said for key in ("ref", "bbox")):
        return None
    names, boxes = said.get("ref") or (), said.get("bbox") or ()
    if not isinstance(names, list | tuple) or not isinstance(boxes, list | tuple):
        raise Reject("wrong-box")
    scale = scale_of(said.get("bbox_type"))
    images = said.get("image_id") or [0] * len(boxes)
    if not isinstance(images, list | tuple) or len(images) != len(boxes):
        raise Reject("wrong-image")
    sizes = _sizes(said, len(boxes))
    made = [
        _box(box, scale, image, size) for box, image, size in zip(boxes, images, sizes, strict=True)
    ]
    return tuple(
        replace(thing or Thing(), name="" if i >= len(names) else _name(name))
        for i, (name, thing) in enumerate(zip_longest(names, made))
    )


def scale_of(said: Any) -> Scale:
    """Return the scale that a row calls so; pixels where it says nothing."""
    scale = _SCALES.get(said) if isinstance(said, str) else None
    scale = "pixels" if said is None else scale
    if scale is None:
        raise Reject("wrong-box")
    return scale


def _is_thing(said: Any) -> bool:
    return isinstance(said, Mapping) and any(key in said for key in _BOXES)


def _one(said: Row) -> Thing:
    box = next(said[key] for key in _BOXES if key in said)
    name = next((said[key] for key in _NAMES if said.get(key)), None)
    image = said.get("image", said.get("image_id", 0))
    thing = _box(box, scale_of(said.get("bbox_type")), image, None)
    return replace(thing, name="" if name is None else _name(name))


def _name(said: Any) -> str:
    if not isinstance(said, str) or not said.strip():
        raise Reject("wrong-name")
    encodable(said)
    return said


def _sizes(said: Row, count: int) -> list[Size | None]:
    """Return the sizes of the boxes' pictures, where the row says them."""
    width, height = number(said.get("width")), number(said.get("height"))
    if not width or not height or width < 0 or height < 0:
        return [None] * count
    return [Size(int(width), int(height))] * count


def _box(said: Any, scale: Scale, image: Any, size: Size | None) -> Thing:
    found = [number(value) for value in said] if isinstance(said, list | tuple) else []
    values = [float(value) for value in found if value is not None]
    if len(values) != len(found) or len(values) not in (2, 4):
        raise Reject("wrong-box")
    if type(image) is not int or image < 0:
        raise Reject("wrong-image")
    if len(values) == 4:
        (x1, x2), (y1, y2) = sorted(values[::2]), sorted(values[1::2])
        values = [x1, y1, x2, y2]
    thing = Thing(box=tuple(values), scale=scale, image=image)
    unit_box(thing, size or Size(2**31, 2**31))  # the size matters to pixels alone
    return thing


def one_thing(name: Any, box: Any, scale: Any, size: Size | None = None) -> Thing:
    """Return the thing that a row names and boxes in columns.

    Raises:
        Reject: It is none.
    """
    said = listed(box)
    values = [said.get(key) for key in ("x1", "y1", "x2", "y2")] if isinstance(said, dict) else said
    thing = _box(values, scale_of(scale), 0, size)
    return thing if name is None else replace(thing, name=_name(name))
