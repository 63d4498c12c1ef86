"""nano-orders: an order in words becomes JSON, in English and Chinese.

Held-out kinds: `combo` (known words in unseen combinations), `new` (real words that neither this
set's training rows nor the pre-training text holds), `pseudo` (fresh made-up words).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from swift.dataset.generated import turn
from swift.dataset.generated.held_out import POOLS
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


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of "train", "validation", "combo", "new" or "pseudo".

    Combinations of known words fall by their own digest into training or held-out ones, so that no
    seed of one meets another's.
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
            fresh = han if language == "zh" else word
            named = [fresh(draw) for _ in KEYS[:3]]
            if language == "en":
                named[2] = named[2].capitalize()
        else:
            named = [draw.choice(pool) for pool in pools]
        if made or kind == "new" or _held_out(named) == (kind == "combo"):
            return dict(zip(KEYS, (*named, number(draw)), strict=True))


def _held_out(named: list[str]) -> bool:
    """Whether a combination of known words is kept from training: one in five."""
    return Random(" ".join(named)).random() < 0.2


def score(answer: str, truth: str) -> bool:
    """Return whether `answer` is JSON and equal to `truth`, key by key."""
    try:
        return bool(json.loads(answer) == json.loads(truth))
    except ValueError:
        return False
