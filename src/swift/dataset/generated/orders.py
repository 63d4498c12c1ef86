"""nano-orders: an order in words becomes JSON, in English and Chinese.

Held-out kinds: `combo` (known words in unseen combinations), `new` (real words that no training
row and no row of the pre-training text holds), `pseudo` (made-up words that no training row holds;
the pre-training text may hold a Chinese one by chance). Which combinations and made-up words are
held out follows from their own digests: no seed of a held-out kind meets another's training rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any
from zlib import crc32

from swift.dataset.generated import turn
from swift.dataset.generated.held_out import POOLS, WORDS
from swift.dataset.generated.words import han, number, word

KEYS = ("item", "colour", "city", "price")
TRAIN_ROWS, HELD_ROWS = 3000, 200

_KNOWN = {
    "en": (
        "lamp chair table kettle basket blanket mirror candle bottle pillow shelf carpet".split(),
        "red blue green yellow white black purple orange".split(),
        "Paris London Berlin Madrid Vienna Dublin Oslo Lisbon Athens Prague".split(),
    ),
    "zh": (
        "台灯 椅子 桌子 水壶 箱子 毛毯 镜子 木桶 钟表 书架".split(),
        "红色 蓝色 绿色 黄色 白色 黑色 紫色 橙色".split(),
        "北京 上海 广州 成都 南京 武汉 西安 青岛 长春 天津".split(),
    ),
}
_FORMS = {
    "en": (
        "Item: {item}. Colour: {colour}. Send it to {city}. I pay {price}.",
        "I want one {item}, in {colour}, delivered to {city}, for {price} dollars.",
        "Please ship to {city}: one {item}, in {colour}, at {price} dollars.",
        "For {price} dollars I order one {item}, in {colour}, to {city}.",
    ),
    "zh": (
        "我要一个{item}，颜色{colour}，送到{city}，价格{price}元。",
        "请寄到{city}：一个{item}，颜色{colour}，价格{price}元。",
        "价格{price}元，买一个{item}，颜色{colour}，送到{city}。",
        "商品：{item}；颜色：{colour}；地址：{city}；价格：{price}元。",
    ),
}

_SAID = str((_KNOWN, _FORMS)).lower()
"""Every training row holds some of these words, so none of them is a fresh one."""


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of "train", "validation", "combo", "new" or "pseudo".

    Raises:
        KeyError: There is no such split.
    """
    kinds = {"train": "train", "validation": "combo", "combo": "combo", "new": "new"}
    kind = kinds.get(split, "pseudo")
    if split not in (*kinds, "pseudo"):
        raise KeyError(split)
    draw = Random(f"orders {split} {seed}")
    for _ in range(TRAIN_ROWS if split == "train" else HELD_ROWS):
        language = draw.choice(("en", "zh"))
        values = _values(kind, language, draw)
        ask = draw.choice(_FORMS[language]).format(**values)
        yield turn(ask, json.dumps(values, ensure_ascii=False))


def _values(kind: str, language: str, draw: Random) -> dict[str, Any]:
    """Draw item, colour, city and price; a third of the training values are real words."""
    while True:
        pools = (POOLS if kind == "new" else _KNOWN)[language]
        made = kind == "pseudo" or (kind == "train" and draw.random() < 0.65)
        if made:
            named = [_made(language, draw, held=kind == "pseudo") for _ in KEYS[:3]]
            if language == "en":
                named[2] = named[2].capitalize()
        else:
            named = [draw.choice(pool) for pool in pools]
        if made or kind == "new" or _held_out(named) == (kind == "combo"):
            return dict(zip(KEYS, (*named, number(draw)), strict=True))


def _held_out(named: list[str]) -> bool:
    """Whether a combination of known words is kept from training: one in five."""
    return Random(" ".join(named)).random() < 0.2


def _made(language: str, draw: Random, *, held: bool) -> str:
    """Draw a made-up word of the held-out tenth, or one that holds no held-out word at all."""
    while True:
        made = han(draw) if language == "zh" else word(draw)
        if held:
            if _held_word(made) and made not in _SAID:
                return made
        elif not any(_held_word(part) or part in WORDS for part in _parts(made, language)):
            return made


def _held_word(made: str) -> bool:
    """Whether a made-up word is kept from training: one in ten."""
    return crc32(made.encode()) % 10 == 0 and not made.startswith("色")  # 颜色 stands before words


def _parts(made: str, language: str) -> list[str]:
    """Return the words that a reader might see in `made`: Chinese has no spaces around them."""
    if language == "en":
        return [made]
    ends = range(len(made) + 1)
    return [made[i:j] for i in ends for j in ends[i + 2 :]]
