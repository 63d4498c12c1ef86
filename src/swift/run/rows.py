"""A plan's rows as Samples that its template writes: read, understood, mixed, cleaned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from swift.chat.thinking import thinks
from swift.dataset.clean import cleaned
from swift.dataset.formats import Reading, to_samples
from swift.dataset.mix import mixed
from swift.dataset.others import with_others
from swift.dataset.pictures import pictures
from swift.dataset.report import Report
from swift.dataset.sources import Raw, find, rows
from swift.recipe import Dataset

if TYPE_CHECKING:
    from swift.chat.message import Sample
    from swift.chat.verify import Trial, Verdict
    from swift.plan import Plan

Live = Iterable[Mapping[str, Any]] | None
"""Rows that were brought along."""

_Note = Callable[[str, str], None]
_Part = tuple[Dataset, Callable[[_Note], Iterator[Raw]]]
"""How rows are to be understood, and what yields them from the first, telling of troubles."""


def samples(
    plan: Plan,
    named: Sequence[Dataset],
    split: str,
    live: Live,
    tried: Trial | None,
    report: Report,
) -> Iterator[Sample]:
    """Yield the Samples of the data sets that are named, or of the rows that were brought along.

    Args:
        plan: What to do.
        named: Data sets, and how they are to be understood.
        split: Their part.
        live: Rows instead of theirs.
        tried: The template, with what trying it brought; None for plain text.
        report: Is told of every row that gives none.

    Raises:
        DataError: A file is wrong, or a data set is none that can be trained on so.
    """
    parts = _parts(plan, named, split, live)
    found = _taken(_mixed(plan, parts, report), tried, report)
    return with_others(found) if plan.recipe.method.aside else found


def _parts(plan: Plan, named: Sequence[Dataset], split: str, live: Live) -> list[_Part]:
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


def _mixed(plan: Plan, parts: Sequence[_Part], report: Report) -> Iterator[Sample]:
    """Yield the Samples of all parts, one after the other or by their weights."""
    begun: set[int] = set()

    def begin(number: int) -> Iterator[Sample]:
        told = report if number not in begun else Report()  # what is wrong is said once
        begun.add(number)
        return _of_part(plan, parts[number], told)

    weights = [dataset.weight for dataset, _ in parts]
    yield from mixed(
        [partial(begin, number) for number in range(len(parts))],
        [weight for weight in weights if weight is not None] if all(weights) else None,
        stopping=plan.recipe.data.stopping,
        on_repeat=lambda number: report.repeat(parts[number][0].name),
    )


def _of_part(plan: Plan, part: _Part, report: Report) -> Iterator[Sample]:
    """Yield the Samples of one data set that nothing is wrong with."""
    (dataset, raws), recipe = part, plan.recipe
    tally = report.part(dataset.name)

    def counted(raws: Iterator[Raw]) -> Iterator[Raw]:
        for raw in raws:
            report.rows += 1
            tally.rows += 1
            yield raw

    def read_as(found: Reading) -> None:
        report.read_as(found.describe())
        tally.read_as.append(found.describe())

    found = to_samples(
        counted(raws(report.note)),
        format=dataset.format,
        columns=dataset.columns,
        wants=recipe.method.wants,
        task=recipe.task,
        on_reject=report.note,
        on_reading=read_as,
    )
    for sample in cleaned(found, report, folder=recipe.data.image_folder or ""):
        tally.samples += 1
        yield sample


def _taken(samples: Iterable[Sample], tried: Trial | None, report: Report) -> Iterator[Sample]:
    """Yield samples that the template writes as inference would ask; the others are counted."""
    for sample in samples:
        if sample.media or sample.rejected_media:
            report.note("media-not-taken", sample.origin)
        elif tried is None or not _lacks(sample, tried.verdict, report):
            yield sample


def _lacks(sample: Sample, verdict: Verdict, report: Report) -> bool:
    """Return whether a sample has what the template fails at."""
    if sample.tools and "tools" not in verdict.taken:
        report.note("tools-not-taken", f"{sample.origin} ({verdict.says('tools')})")
        return True
    if "thinking" in verdict.taken or not any(map(thinks, sample.chosen)):
        return False
    if "thinking" in verdict.wrong:
        report.note("reasoning-not-taken", f"{sample.origin} ({verdict.says('thinking')})")
        return True
    report.note("reasoning-not-written", sample.origin)
    return False
