"""`swift list`: the models, data sets and rewards that have a name here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swift.cli import catalog
from swift.cli.flags import Line, split
from swift.core.errors import Problem, UserError, nearest
from swift.core.schema import summary, takes
from swift.dataset.names import datasets
from swift.dataset.names import near as near_data
from swift.model.names import Row, near, rows
from swift.model.search import holds, search

USAGE = """usage: swift list [models] [WORD ...] [--family NAME] [--modality WORD] [--kind WORD]
                  [--size '<8'] [--count] [--json]
       swift list datasets [WORD ...] [--task WORD] [--language WORD] [--tag WORD]
                  [--count] [--json]
       swift list rewards [--json]

  WORD         only what has every word in its names: qwen2.5 7b
  --family     qwen, llama, internvl, ...; several with commas
  --modality   text (nothing else), vision, image, video, audio, multimodal
  --kind       base, chat, reasoning, reward, embedding, reranker, asr, ...
  --size       billions of parameters: 7, '<8', '>=30', 3-8
  --task       chat, text, vqa, ocr, caption, grounding, asr; sft, pt, dpo, kto, grpo, eval, ...
  --language   zh, en, multi, code
  --tag        math, code, medical, agent, huge, ...
  --count      only how many
  --json       everything that is known, as JSON"""

_READS: Mapping[str, Callable[[Row], bool]] = {
    "text": lambda row: row.modality == ("text",),
    "multimodal": lambda row: row.modality != ("text",),
    "vision": lambda row: bool({"image", "video"} & set(row.modality)),
    "image": lambda row: "image" in row.modality,
    "video": lambda row: "video" in row.modality,
    "audio": lambda row: "audio" in row.modality,
}

_SIZE = re.compile(r"(<=|>=|<|>|=)?(\d+(?:\.\d+)?)[bB]?(?:-(\d+(?:\.\d+)?)[bB]?)?")


def main(verb: str, words: list[str]) -> int:
    """Print a table (or JSON, or a count) of what has a name."""
    line = split(words, alone=frozenset({"json", "count", "help"}), many=lambda name: False)
    wants_help, line = line.pick("help")
    as_json, line = line.pick("json")
    count, line = line.pick("count")
    if wants_help:
        print(USAGE)
        return 0
    if not line.files:
        fix = "swift list models, swift list datasets, swift list rewards, or swift list qwen3"
        raise UserError(Problem(what="list what?", fix=fix))
    if line.files == ("rewards",):
        _nothing_else(line)
        known = _rewards()
        print(json.dumps(known, indent=1) if as_json else _table(_of_rewards(known)))
        return 0
    named = line.files[0] in ("models", "datasets")
    things = line.files[0] if named else "models"
    sought = line.files[named:]
    shown = (_models if things == "models" else _datasets)(line, sought)
    if not named and (others := len(_data_with(sought))):
        said = " ".join(sought)
        print(f"{others} data sets match too: swift list datasets {said}", file=sys.stderr)
    if count:
        print(_count(shown, things, as_json is not None))
    elif as_json:
        print(json.dumps(shown, indent=1, ensure_ascii=False))
    elif not shown:
        print("there is none of that kind")
    else:
        print(_table(_of_models(shown) if things == "models" else catalog.table(shown)))
    return 0


def chosen(
    *,
    family: str | None = None,
    modality: str | None = None,
    kind: str | None = None,
    size: str = "",
) -> list[Row]:
    """Return the rows of the catalogue that fit every wish.

    Raises:
        UserError: A word means nothing here; all of them.
    """
    problems: list[Problem] = []
    checks: list[Callable[[Row], bool]] = []
    for key, word, known in (
        ("family", family, {row.family for row in rows()}),
        ("kind", kind, {row.kind for row in rows()}),
        ("modality", modality, set(_READS)),
    ):
        if word is None:
            continue
        said = (
            [w.strip() for w in word.casefold().split(",")]
            if key == "family"
            else [word.casefold()]
        )
        for strange in (w for w in said if w not in known):
            what = f"no model has the {key} `{strange}`"
            fix = nearest(strange, sorted(known))
            problems.append(Problem(where=f"--{key}", what=what, fix=fix))
        if key != "modality":
            checks.append(_is_one(key, said))
        elif said[0] in known:
            checks.append(_READS[said[0]])
    if size:
        checks.append(_sized(size, problems))
    if problems:
        raise UserError(problems)
    return [row for row in rows() if all(check(row) for check in checks)]


def _is_one(key: str, said: Sequence[str]) -> Callable[[Row], bool]:
    return lambda row: getattr(row, key) in said


def _sized(said: str, problems: list[Problem]) -> Callable[[Row], bool]:
    """Return the check of a size; a model whose size nobody knows fits none."""
    found = _SIZE.fullmatch(said.replace(" ", ""))
    if found is None or (found[1] and found[3]):
        what = f"`{said}` is no size"
        problems.append(Problem(where="--size", what=what, fix="--size '<8', --size 7, --size 3-8"))
        return lambda row: False
    low = float(found[2])
    high = float(found[3] or low)
    fits: Mapping[str, Callable[[float], bool]] = {
        "<": lambda size: size < low,
        "<=": lambda size: size <= low,
        ">": lambda size: size > low,
        ">=": lambda size: size >= low,
        "=": lambda size: low <= size <= high,
    }
    fit = fits[found[1] or "="]
    return lambda row: row.size > 0 and fit(row.size)


def _models(line: Line, sought: Sequence[str]) -> list[dict[str, Any]]:
    wishes, line = _wishes(line, ("family", "modality", "kind", "size"))
    _nothing_else(line)
    met = {id(row) for row in search(sought)}
    if sought and not met:
        raise _nothing_has("model", sought, near(" ".join(sought)))
    found = [row for row in chosen(**wishes) if id(row) in met]
    found.sort(key=lambda row: (row.family, row.structure, row.size, row.name.casefold()))
    fields = [name for name in Row.__slots__ if name != "names"]
    return [{f: getattr(row, f) for f in (*fields, "names")} for row in found]


def _datasets(line: Line, sought: Sequence[str]) -> list[dict[str, Any]]:
    wishes, line = _wishes(line, catalog.KEYS)
    _nothing_else(line)
    met = _data_with(sought)
    if sought and not met:
        raise _nothing_has("data set", sought, near_data(" ".join(sought)))
    return [catalog.as_dict(row) for row in catalog.chosen(wishes) if row.name in met]


def _rewards() -> list[dict[str, Any]]:
    from swift.reward import rewards

    classes = {name: rewards.get(name) for name in rewards}
    return [
        {
            "reward": name,
            "about": summary((cls.__doc__ or "").split("\n\n")[0]),
            "options": {option: takes(info) for option, info in cls.model_fields.items()},
        }
        for name, cls in classes.items()
    ]


def _of_rewards(known: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [("reward", "about")]
    for item in known:
        lines += [(item["reward"], item["about"]), ("", f"  {', '.join(item['options'])}")]
    return lines


def _data_with(sought: Sequence[str]) -> set[str]:
    """Return the names of the data sets that hold every word."""
    words = " ".join(sought).split()
    return {
        row.name
        for row in datasets
        if all(holds((row.name, *row.names, row.huggingface, row.modelscope), w) for w in words)
    }


def _nothing_has(thing: str, sought: Sequence[str], close: Sequence[str]) -> UserError:
    fix = "write " + " or ".join(f"`{name}`" for name in close) if close else "say fewer words"
    return UserError(Problem(what=f"no {thing} has `{' '.join(sought)}` in its names", fix=fix))


def _wishes(line: Line, keys: Sequence[str]) -> tuple[dict[str, Any], Line]:
    wishes: dict[str, Any] = {}
    for key in keys:
        wish, line = line.pick(key)
        if wish is True:
            raise UserError(Problem(where=f"--{key}", what="it says nothing", fix=USAGE))
        if wish is not None:
            wishes[key] = str(wish)
    return wishes, line


def _nothing_else(line: Line) -> None:
    if line.flags:
        said = ", ".join(f"`--{name}`" for name, _ in line.flags)
        raise UserError(Problem(what=f"`swift list` does not take {said}", fix=USAGE))


def _count(shown: Sequence[Mapping[str, Any]], things: str, as_json: bool) -> str:
    if things == "datasets":
        return json.dumps({"datasets": len(shown)}) if as_json else f"{len(shown)}"
    text = sum(item["modality"] == ("text",) for item in shown)
    if as_json:
        return json.dumps({"models": len(shown), "text": text, "multimodal": len(shown) - text})
    return f"{len(shown)} models: {text} text, {len(shown) - text} multimodal"


def _of_models(shown: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    head = ("model", "family", "size", "kind", "reads", "packed")
    return [
        head,
        *(
            (
                item["huggingface"] or item["modelscope"],
                item["family"],
                f"{item['size']:g} B" if item["size"] else "",
                item["kind"],
                "+".join(item["modality"]),
                item["packed"],
            )
            for item in shown
        ),
    ]


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    cells = ("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in cells)
