"""The page of a model or a data set on a hub, written from what its run left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from swift.checkpoint import Card
from swift.core.yaml import dump
from swift.hub.parcel import MARK

_RELATION = {"adapter": "adapter", "whole": "finetune"}
_HOSTS = {"huggingface": "https://huggingface.co", "modelscope": "https://modelscope.cn/models"}
_THOUSANDS = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
_MILLIONS = ((1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that something was made of, as others know it."""

    id: str
    """Its id on the hub, else the bare name of its folder."""

    public: bool
    """Whether others find it under that id."""

    native: bool = True
    """Whether other libraries open it as it is there, not only swift."""

    revision: str = ""
    """Its commit, where that is known."""

    license: str = ""
    """As its own card says."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What an evaluation found."""

    data: str
    name: str
    rows: int
    share: float
    """Of the rows that are right, from 0 to 1."""

    interval: tuple[float, float]
    """In which it lies with 95 %."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that a model's page tells."""

    id: str
    """ORG/NAME of the repository."""

    hub: str
    """huggingface, modelscope, or folder."""

    kind: Literal["adapter", "whole"]
    base: Base | None = None
    card: Card | None = None
    """What swift.json says, without what is private."""

    plan: Mapping[str, Any] = field(default_factory=dict)
    """learning_rate, sizes, dtype, ... as they were decided."""

    losses: Mapping[str, float] = field(default_factory=dict)
    """What is said of a loss -> its value."""

    scores: Sequence[Score] = ()
    datasets: Sequence[str] = ()
    """Ids, on this hub, of the data it was trained on."""

    pipeline: str = ""
    """What the hub calls its task: text-generation; of a reward model text-classification."""


def model_card(story: Story) -> str:
    """Return the page of a model: front matter as the hubs read it, then Markdown."""
    name = story.id.partition("/")[2] or story.id
    parts = [_front(_about(story)) + MARK, f"# {name}", _what(story), _use(story)]
    if story.card is not None:
        parts += ["## How it was trained", _table(_training(story, story.card))]
    if story.scores:
        parts += ["## Scores", _scores(story.scores)]
    return "\n\n".join(parts) + "\n"


def data_card(id: str, rows: int | None, columns: Sequence[str], files: Mapping[str, str]) -> str:
    """Return the page of a data set.

    Args:
        id: ORG/NAME of the repository.
        rows: How many there are; None where nobody counted.
        columns: Of its first row.
        files: Path -> size in words.
    """
    size = next((word for most, word in (*_THOUSANDS, *_MILLIONS) if (rows or 0) < most), "n>100M")
    known = {"size_categories": [size]} if rows is not None else {}
    name = id.partition("/")[2] or id
    said = [] if rows is None else [f"{rows:,} rows with {_listed(columns)}."]
    table = _table(list(files.items()), head=("File", "Size"))
    use = _code("console", f"$ swift sft --model nano --dataset {id}")
    page = [_front({**known, "tags": ["swift"]}) + MARK, f"# {name}", *said, table, "## Use", use]
    return "\n\n".join(page) + "\n"


def _front(fields: Mapping[str, Any]) -> str:
    return f"---\n{dump(fields)}---\n\n"


def _about(story: Story) -> dict[str, Any]:
    """Return the fields that hubs read; what is not known is left out."""
    base, card = story.base, story.card
    tags = ["swift", *([card.method, str(card.tuner.get("name", ""))] if card else [])]
    fields = {
        "base_model": base.id if base and base.public else "",
        "base_model_relation": _RELATION[story.kind] if base and base.public else "",
        "library_name": "peft" if story.kind == "adapter" else "transformers",
        "license": base.license if base else "",
        "pipeline_tag": story.pipeline,
        "datasets": list(story.datasets),
        "tags": list(dict.fromkeys(filter(None, tags))),
    }
    return {name: value for name, value in fields.items() if value}


def _what(story: Story) -> str:
    thing = "A PEFT adapter for" if story.kind == "adapter" else "A model made from"
    if story.base is None:
        return "A PEFT adapter." if story.kind == "adapter" else "A model."
    base = story.base
    host = _HOSTS.get(story.hub, "")
    known = base.public and "/" in base.id and host
    named = f"[{base.id}]({host}/{base.id})" if known else f"`{base.id}`"
    made = f", trained with `swift` by {story.card.method}" if story.card else ""
    return f"{thing} {named}{made}."


def _use(story: Story) -> str:
    """Return the lines that open it, in swift and in the library that it is written for."""
    scores = story.pipeline == "text-classification"
    here = [f"$ swift chat {story.id}", f"$ swift serve {story.id}"]
    parts = ["## Use", *([] if scores else [_code("console", *here)])]
    base = story.base
    alone = story.kind == "adapter" and not (base and base.public and base.native)
    if not alone and story.pipeline in ("", "text-generation", "text-classification"):
        peft = story.kind == "adapter"
        library, name = ("peft", "AutoPeft") if peft else ("transformers", "Auto")
        kind = "SequenceClassification" if scores else "CausalLM"
        more = ", num_labels=1" if scores else ""
        lines = [
            f"from {library} import {name}ModelFor{kind}",
            "from transformers import AutoTokenizer",
        ]
        place = f'"{story.id}"'
        if story.hub == "modelscope":
            lines = ["from modelscope import snapshot_download", *lines]
            place = f"snapshot_download({place})"
        if story.hub != "folder":
            lines += ["", f"place = {place}"]
            lines += [f"model = {name}ModelFor{kind}.from_pretrained(place{more})"]
            lines += ["tokenizer = AutoTokenizer.from_pretrained(place)"]
            parts.append(_code("python", *lines))
    return "\n\n".join(parts)


def _training(story: Story, card: Card) -> list[tuple[str, str]]:
    """Return what is known of the training, row by row."""
    recipe, plan, base = card.recipe, story.plan, story.base
    train = recipe.get("train") or {}
    data = [str(d.get("name")) for d in recipe.get("dataset") or [] if isinstance(d, dict)]
    tuner = [f"{key} {_word(value)}" for key, value in card.tuner.items() if key != "name"]
    quant = recipe.get("quant") or {}
    rows = {
        "Base": f"{base.id}{f' at {base.revision}' if base.revision else ''}" if base else "",
        "Method": card.method,
        "Data": ", ".join(data),
        "Tuner": ", ".join([str(card.tuner.get("name", "")), *tuner]),
        "Frozen weights": f"{quant.get('name')}, {quant.get('bits', '')} bits" if quant else "",
        "Steps": f"{card.step:,} of {card.total_steps:,}",
        "Samples in a step": _word((plan.get("sizes") or {}).get("batch")),
        "Peak learning rate": _word(plan.get("learning_rate")),
        "Schedule": f"{train.get('schedule')}, warm-up {_word(train.get('warmup'))}"
        if train
        else "",
        "Optimiser": str((recipe.get("optimizer") or {}).get("name") or ""),
        "Seed": _word(train.get("seed")),
        "Computed in": _word(plan.get("dtype")),
        **{f"Loss, {what}": f"{value:.4f}" for what, value in story.losses.items()},
        "swift": card.swift,
    }
    return [(name, value) for name, value in rows.items() if value]


def _word(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:g}"
        if isinstance(value, float)
        else _listed(value)
        if isinstance(value, list)
        else str(value)
    )


def _listed(words: Sequence[Any]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _scores(scores: Sequence[Score]) -> str:
    head = ("Data", "Score", "Rows", "Right", "95 % interval")
    rows = [
        (
            s.data,
            s.name,
            f"{s.rows:,}",
            f"{s.share:.1%}",
            f"{s.interval[0]:.1%} to {s.interval[1]:.1%}",
        )
        for s in scores
    ]
    return _table(rows, head=head)


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = ("", "")) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in cells)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _code(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
