"""nano-text: what the embedded model learns from before it meets a task.

Conversations that ask for copying, looking up, and turning phrases into JSON, over made-up words
only: what is learned is the skill, never a word or a key of the task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from swift.dataset.generated import turn
from swift.dataset.generated.words import HAN, han, number, word

ROWS = 150_000

# Clauses of an introduction: key of the answer, then how people say it in English and Chinese.
_CLAUSES: dict[str, tuple[str, str]] = {
    "name": ("my name is {w}|I am {w}|name: {w}|called {w}", "我叫{w}|名字是{w}|姓名：{w}"),
    "room": ("room {n}|in room {n}|room: {n}", "房间{n}号|住{n}室|房号：{n}"),
    "count": ("I take {n}|{n} of them|{n} pieces", "要{n}份|一共{n}件|数量：{n}"),
    "street": ("I live in {W}|from {W}|street: {W}", "住在{w}|来自{w}|街道：{w}"),
    "food": ("I eat {w}|with {w}|food: {w}", "吃{w}|配{w}|食物：{w}"),
    "team": ("I play for {W}|team {W}|team: {W}", "属于{w}队|队伍是{w}|球队：{w}"),
    "tool": ("one {w}|using {w}|tool: {w}", "用{w}|一个{w}|工具：{w}"),
    "age": ("aged {n}|{n} years old|age: {n}", "今年{n}岁|年龄{n}|年纪：{n}"),
    "job": ("I work as {w}|being {w}|job: {w}", "当{w}|做{w}|职业：{w}"),
    "code": ("code {n}|number {n}|code: {n}", "编号{n}|号码{n}|代码：{n}"),
    "pet": ("my pet is {w}|and {w} comes along|pet: {w}", "养了{w}|带着{w}|宠物：{w}"),
    "goal": ("going to {W}|bound for {W}|goal: {W}", "去{w}|前往{w}|目的：{w}"),
    "size": ("size {n}|{n} metres|size: {n}", "大小{n}|{n}米|尺寸：{n}"),
    "style": ("style {w}|in {w}|style: {w}", "样式{w}|风格{w}|款式：{w}"),
    "brand": ("brand {w}|made by {w}|brand: {w}", "品牌{w}|牌子是{w}|商标：{w}"),
    "shop": ("bought at {W}|shop {W}|shop: {W}", "在{w}商店|去{w}买|店址：{w}"),
    "fee": ("worth {n} dollars|the fee is {n}|fee: {n}", "价值{n}元|收{n}元|资格{n}"),
    "host": ("sent to {W}|for {W}|host: {W}", "送给{w}|请寄给{w}|收到：{w}"),
    "face": ("it looks {w}|a {w} one|face: {w}", "颜面{w}|容颜{w}|颜：{w}"),
    "note": ("please note {w}|remember {w}|note: {w}", "请记{w}|我说{w}|备注：{w}"),
}


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the documents of "train" or "validation".

    Raises:
        KeyError: There is no such split.
    """
    counts = {"train": ROWS, "validation": 500}
    draw = Random(f"text {split} {seed}")
    for _ in range(counts[split]):
        yield _document(draw)


def _document(draw: Random) -> dict[str, Any]:
    makers: list[tuple[Callable[[Random], dict[str, Any]], int]] = [
        (_repeat, 12),
        (_copy, 12),
        (_lookup, 14),
        (_record, 14),
        (_extract, 40),
        (_pick, 4),
        (_talk, 4),
    ]
    found = draw.choices([m for m, _ in makers], [share for _, share in makers])[0]
    return found(draw)


def _value(draw: Random, zh: bool) -> str:
    fresh = han(draw) if zh else word(draw)
    return fresh.capitalize() if not zh and draw.random() < 0.3 else fresh


def _repeat(draw: Random) -> dict[str, Any]:
    """Random pieces, to be said again."""
    zh = draw.random() < 0.5
    pieces = [draw.choice(HAN) if zh else word(draw) for _ in range(draw.randint(4, 16))]
    said = ("" if zh else " ").join(pieces)
    return turn(said, said)


def _copy(draw: Random) -> dict[str, Any]:
    zh = draw.random() < 0.5
    values = [_value(draw, zh) for _ in range(draw.randint(2, 5))]
    said = draw.choice((", ", " | ", "; ", " / ") if not zh else ("，", "、", "；", " ")).join(
        values
    )
    if draw.random() < 0.5:
        return turn(said, json.dumps(values, ensure_ascii=False))
    return turn(said, "\n".join(values))


def _pairs(draw: Random, zh: bool) -> dict[str, Any]:
    keys = list(dict.fromkeys(_value(draw, zh) for _ in range(draw.randint(2, 4))))
    return {k: number(draw) if draw.random() < 0.4 else _value(draw, zh) for k in keys}


def _lookup(draw: Random) -> dict[str, Any]:
    zh = draw.random() < 0.5
    pairs = _pairs(draw, zh)
    key = draw.choice(list(pairs))
    said = ("；" if zh else "; ").join(f"{k}={v}" for k, v in pairs.items())
    ask = f"{said}\n{key}是什么？" if zh else f"{said}\nTell me the {key}."
    return turn(ask, str(pairs[key]))


def _record(draw: Random) -> dict[str, Any]:
    """Keys and values in the question; JSON, or lines, in the answer."""
    zh = draw.random() < 0.5
    pairs = _pairs(draw, zh)
    sign, gap = draw.choice(((": ", ", "), ("：", "，"), (" = ", " | "), (" ", "; ")))
    said = gap.join(f"{k}{sign}{v}" for k, v in pairs.items())
    made = json.dumps(pairs, ensure_ascii=False)
    if draw.random() < 0.3:
        return turn(made, "\n".join(f"{k}: {v}" for k, v in pairs.items()))
    return turn(said, made)


def _extract(draw: Random) -> dict[str, Any]:
    """Clauses in any order; keys that the question does not hold, in the order of `_CLAUSES`."""
    zh = draw.random() < 0.5
    keys = draw.sample(list(_CLAUSES), draw.randint(2, 5))
    said, found = [], {}
    for key in keys:
        form = draw.choice(_CLAUSES[key][zh].split("|"))
        found[key] = number(draw) if "{n}" in form else han(draw) if zh else word(draw)
        if "{W}" in form:
            found[key] = str(found[key]).capitalize()
        said.append(form.format(w=found[key], W=found[key], n=found[key]))
    gap, end = draw.choice(
        (("，", "。"), ("；", "。")) if zh else ((", ", "."), (". ", "."), ("; ", ""))
    )
    text = gap.join(said)
    text = text[0].upper() + text[1:] + end
    if draw.random() < 0.7:
        found = {key: found[key] for key in _CLAUSES if key in found}
        return turn(text, json.dumps(found, ensure_ascii=False))
    return turn(text, "\n".join(f"{k}: {v}" for k, v in found.items()))


def _pick(draw: Random) -> dict[str, Any]:
    numbers = draw.sample(range(10, 100), draw.randint(3, 6))
    return turn("Pick one: " + ", ".join(map(str, numbers)), str(draw.choice(numbers)))


def _talk(draw: Random) -> dict[str, Any]:
    zh = draw.random() < 0.5
    name = _value(draw, zh)
    said = (
        (("你好，我叫{}。", "你好，{}！"), ("{}在哪里？", "我不知道{}在哪里。"))
        if zh
        else (("Hello, I am {}.", "Hello, {}!"), ("Where is {}?", "I do not know where {} is."))
    )
    ask, answer = draw.choice(said)
    return turn(ask.format(name), answer.format(name))
