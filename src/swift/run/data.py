"""A plan's rows as tokens, and as the batches of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swift.chat.asked import Asked
from swift.chat.speaker import Speaker
from swift.chat.thinking import thinks
from swift.chat.tokenize import Tokenizer
from swift.chat.verify import Trial
from swift.core.errors import DataError, Problem
from swift.dataset.encode import encode
from swift.dataset.encoded import Encoded
from swift.dataset.formats import to_samples
from swift.dataset.mix import Stopping, mixed
from swift.dataset.pictures import pictures
from swift.dataset.report import Report
from swift.dataset.sources import Raw, find, rows
from swift.plan.speech import trial
from swift.recipe import Dataset
from swift.run.given import NOTHING, Given
from swift.run.kept import once, progress

if TYPE_CHECKING:
    from swift.chat.message import Sample
    from swift.plan import Plan

Event = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows as tokens, and what they were made with."""

    train: Encoded
    validation: Encoded | None
    fingerprint: str
    """Digest of the training tokens, in order."""

    template: str
    """Fingerprint of the chat template; "" where none was used."""

    ends: tuple[int, ...]
    """Tokens that end an answer, besides those that the model's own files name."""

    pad_id: int


def prepare(plan: Plan, event: Event, given: Given = NOTHING) -> Prepared:
    """Return the plan's rows as tokens; what did not come through is an event.

    Raises:
        DataError: A file, a row or the template is wrong, or nothing is left to train on.
    """
    recipe = plan.recipe
    tokenizer = Tokenizer.load(plan.model.voice)
    tried = _tried(plan, event)
    template = tried.template if tried else None

    def encoded(named: tuple[Dataset, ...], split: str, live: _Live) -> Encoded:
        def make(folder: Path | None, tell: Event) -> Encoded:
            parts, told = _parts(plan, named, split, live), progress(event)
            return _encoded(plan, parts, split, tried, tokenizer, tell, folder, told)

        return once(plan, named if live is None else (), split, tried, make, event)

    everything = encoded(recipe.dataset, "train", given.rows)
    held = recipe.data.validation
    validation: Encoded | None = None
    if isinstance(held, str) or given.validation is not None:
        named = (Dataset(name=str(held)),)
        validation = encoded(named, "validation", given.validation)
    elif held:
        everything, validation = _split(everything, held, recipe.train.seed)
    ends = Speaker(tokenizer, template).stop_ids - set(tokenizer.stop_ids)
    return Prepared(
        train=everything,
        validation=validation,
        fingerprint=everything.fingerprint(),
        template=template.fingerprint if template else "",
        ends=tuple(sorted(ends)),
        pad_id=tokenizer.pad_id,
    )


def _tried(plan: Plan, event: Event) -> Trial | None:
    """Return the template with what trying it brought, which is an event; None for plain text."""
    if plan.recipe.task == "text":
        return None
    tried = trial(plan.recipe, plan.model, plan.template)
    verdict = tried.verdict
    event("template", text=plan.verdict, **vars(verdict))
    return tried


def _encoded(
    plan: Plan,
    parts: Sequence[_Part],
    split: str,
    tried: Trial | None,
    tokenizer: Tokenizer,
    event: Event,
    folder: Path | None,
    progress: Callable[[int], None],
) -> Encoded:
    recipe, report = plan.recipe, Report()
    pairs = len(recipe.method.sides) == 2
    template = Asked.of(tried.template) if tried else None
    made = encode(
        _written(_samples(parts, recipe.data.stopping, pairs, recipe.task, report), tried, report),
        template,
        tokenizer,
        pairs=pairs,
        supervise="all" if recipe.task == "text" else recipe.method.supervise,
        max_length=plan.room,
        on_long=recipe.data.on_long,
        report=report,
        progress=progress,
        folder=folder,
        processes=recipe.data.num_proc,
    )
    event("data", split=split, text=report.describe(), **report.as_dict())
    if template is not None and (left := template.describe()):
        event("warning", text=left)
    if report.samples < report.rows / 2:
        event("warning", text=f"only {report.samples:,} of {report.rows:,} rows are trained on")
    return made


_Live = Iterable[Mapping[str, Any]] | None
"""Rows that were brought along."""

_Note = Callable[[str, str], None]
_Part = tuple[Dataset, Callable[[_Note], Iterator[Raw]]]
"""How rows are to be understood, and what yields them from the first, telling of troubles."""


def _parts(
    plan: Plan,
    named: tuple[Dataset, ...],
    split: str,
    live: _Live,
) -> list[_Part]:
    """Return the rows of each named data set, or those that were brought along."""
    if live is not None:
        raws = (Raw(row=dict(row), origin=f"row {i}") for i, row in enumerate(live, 1))
        return [(Dataset(name="rows"), lambda note: raws)]
    return [(dataset, partial(_raws, plan, dataset, split)) for dataset in named]


def _raws(plan: Plan, said: Dataset, split: str, note: _Note) -> Iterator[Raw]:
    if said.name == plan.recipe.data.image_folder:
        return pictures(said.name)
    source = find(said.name, subset=said.subset, part=said.split, documents=said.documents)
    seed = plan.recipe.train.seed if said.seed is None else said.seed
    return rows(source, split=split, seed=seed, note=note)


def _samples(
    parts: Sequence[_Part], stopping: Stopping, pairs: bool, task: str, report: Report
) -> Iterator[Sample]:
    """Yield the Samples of all parts, one after the other or by their weights."""

    def counted(raws: Iterator[Raw]) -> Iterator[Raw]:
        for raw in raws:
            report.rows += 1
            yield raw

    begun: set[int] = set()

    def begin(number: int) -> Iterator[Sample]:
        dataset, raws = parts[number]
        first = number not in begun
        begun.add(number)
        note: _Note = report.note if first else lambda name, origin: None  # said once
        return to_samples(
            counted(raws(note)) if first else raws(note),
            format=dataset.format,
            columns=dataset.columns,
            wants="pairs" if pairs else "answers",
            task=task,
            on_reject=note,
            on_reading=lambda found: report.read_as(found.describe()) if first else None,
        )

    weights = [dataset.weight for dataset, _ in parts]
    yield from mixed(
        [partial(begin, number) for number in range(len(parts))],
        [weight for weight in weights if weight is not None] if all(weights) else None,
        stopping=stopping,
        on_repeat=lambda number: report.note("repeated", parts[number][0].name),
    )


def _written(samples: Iterable[Sample], tried: Trial | None, report: Report) -> Iterator[Sample]:
    """Yield samples that the template writes as inference would ask.

    Reasoning that it passes over is counted.

    Raises:
        DataError: A sample has tools or reasoning that it does not, by its verdict.
    """
    for sample in samples:
        for lack in (*_media(sample), *(_lacking(sample, tried) if tried else ())):
            raise DataError(lack)
        if tried and "thinking" in tried.verdict.refused and any(map(thinks, sample.chosen)):
            report.note("reasoning-not-written", sample.origin)
        yield sample


def _media(sample: Sample) -> Iterator[Problem]:
    if sample.media or sample.rejected_media:
        kind = (*sample.media, *sample.rejected_media)[0].kind
        what = f"the row has {'an' if kind[0] in 'ai' else 'a'} {kind}; these come later"
        yield Problem(where=sample.origin, what=what, fix="train on rows of text alone")


def _lacking(sample: Sample, tried: Trial) -> Iterator[Problem]:
    verdict = tried.verdict
    if sample.tools and "tools" not in verdict.taken:
        what = f"the row has tools, which the chat template does not take: {verdict.says('tools')}"
        fix = "model.template: the path of a Jinja file that writes tools; or rows without them"
        yield Problem(where=sample.origin, what=what, fix=fix)
    if "thinking" in verdict.wrong and any(thinks(m) for m in sample.chosen):
        what = f"the row has reasoning, and the chat template fails: {verdict.says('thinking')}"
        yield Problem(where=sample.origin, what=what, fix="data.thinking: drop")


def _split(everything: Encoded, share: float, seed: int) -> tuple[Encoded, Encoded]:
    """Hold out a drawn share, at least one sample; the same ones for the same seed."""
    held = max(1, round(share * len(everything)))
    if held >= len(everything):
        raise DataError(
            Problem(
                where="data.validation",
                what=f"a share of {share} of {len(everything)} samples leaves none to train on",
                fix="give more rows, or validation: 0",
            )
        )
    order = np.random.Generator(np.random.PCG64([seed, 1 << 32])).permutation(len(everything))
    return everything.take(sorted(order[held:])), everything.take(sorted(order[:held]))
