"""A plan's rows as tokens, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.chat.asked import Asked
from swift.chat.speaker import Speaker
from swift.chat.tokenize import Tokenizer
from swift.chat.verify import Trial
from swift.core.errors import DataError, Problem
from swift.core.files import write_text
from swift.dataset.encode import encode
from swift.dataset.encoded import Encoded
from swift.dataset.held import hold_out
from swift.dataset.report import Report
from swift.dataset.troubles import troubles
from swift.dataset.twins import apart, distinct
from swift.plan.speech import trial
from swift.recipe import Dataset
from swift.run.given import NOTHING, Given
from swift.run.kept import once, progress, written
from swift.run.rollout.questions import questions
from swift.run.rows import Live, samples
from swift.run.sizes import crowded, large

if TYPE_CHECKING:
    from swift.chat.message import Sample
    from swift.plan import Plan
    from swift.run.streamed import Stream

Event = Callable[..., Any]

_FIRST = 64
"""Samples of a stream that are looked at before it begins."""

REPORT = "data_report.json"
"""File of a run folder: what became of the rows."""


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

    stream: Stream | None = None
    """Where rows are streamed: all of them; `train` are the first."""

    reports: Mapping[str, Report] = field(default_factory=dict)
    """What became of the rows: "train", and "validation" where there is one."""

    questions: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    """Of an online method: the sample of each stored item of "train" and of "validation"."""


def prepare(
    plan: Plan, event: Event, given: Given = NOTHING, *, near_leaks: bool = False
) -> Prepared:
    """Return the plan's rows as tokens; what did not come through is an event.

    Args:
        plan: What to do.
        event: Is told of everything.
        given: Live rows instead of the plan's.
        near_leaks: Whether validation samples that are nearly trained on are looked for, too.

    Raises:
        DataError: A file, a row or the template is wrong, or nothing is left to train on.
    """
    recipe = plan.recipe
    tokenizer = Tokenizer.load(plan.model.voice)
    tried = _tried(plan, event)
    template = tried.template if tried else None
    reports: dict[str, Report] = {}
    asked: dict[str, Sequence[Sample]] = {}
    crowded(plan, event)

    def encoded(named: tuple[Dataset, ...], split: str, live: Live) -> Encoded:
        def hear(kind: str, **fields: Any) -> None:
            if kind == "rows":  # of this run, or of the one that made what is kept
                reports[split] = _report(plan, fields["report"])
            else:
                event(kind, **fields)

        def make(folder: Path | None, tell: Event) -> Encoded:
            report = _report(plan)
            found = samples(plan, named, split, live, tried, report)
            return _encoded(plan, found, report, tried, tokenizer, tell, folder, progress(event))

        if recipe.method.wants == "prompts":
            report = reports[split] = _report(plan)
            found = samples(plan, named, split, live, tried, report)
            made, asked[split] = questions(plan, found, tried, tokenizer, report)
        else:
            made = once(plan, named if live is None else (), split, tried, make, hear)
        return distinct(made, reports[split], near=recipe.data.near_duplicates)

    stream: Stream | None = None
    if recipe.data.streaming:
        stream, everything = _stream(plan, tried, tokenizer, reports)
        fingerprint = written(plan, recipe.dataset, "train")
    else:
        everything = encoded(recipe.dataset, "train", given.rows)
        fingerprint = ""
    held = recipe.data.validation
    validation: Encoded | None = None
    if isinstance(held, str) or given.validation is not None:
        validation = encoded((Dataset(name=str(held)),), "validation", given.validation)
    elif held:
        everything, validation = _shared(plan, held, everything, reports, event)
        asked["validation"] = asked.get("train", ())
    if validation is not None:
        validation = _unseen(everything, validation, reports["validation"], near_leaks)
    for split, report in reports.items():
        _tell(split, report, event)
    for report in reports.values():
        report.check()
    if not recipe.data.streaming:
        large(plan, len(everything), event)
    ends = Speaker(tokenizer, template).stop_ids - set(tokenizer.stop_ids)
    return Prepared(
        train=everything,
        validation=validation,
        fingerprint=fingerprint or everything.fingerprint(),
        template=template.fingerprint if template else "",
        ends=tuple(sorted(ends)),
        pad_id=tokenizer.pad_id,
        reports=reports,
        stream=stream,
        questions=asked,
    )


def _stream(
    plan: Plan, tried: Trial | None, tokenizer: Tokenizer, reports: dict[str, Report]
) -> tuple[Stream, Encoded]:
    """Return the training rows as a stream, and the first of them."""
    from swift.run.streamed import WINDOW, Stream  # which takes torch along

    report = reports["train"] = _report(plan)
    template = Asked.of(tried.template) if tried else None
    begun = 0

    def samples_of_a_pass(told: Report) -> Iterator[Sample]:
        return samples(plan, plan.recipe.dataset, "train", None, tried, told)

    def begin() -> Iterator[Sample]:
        nonlocal begun
        begun += 1
        return samples_of_a_pass(report if begun == 1 else _report(plan))  # counted once

    def window(drawn: Iterable[Sample], told: Report) -> Encoded:
        return _tokens(plan, drawn, template, tokenizer, told, processes=1, may_be_empty=True)

    first = window(islice(samples_of_a_pass(_report(plan)), _FIRST), _report(plan))
    size = plan.sizes.batch * WINDOW
    told = _report(plan)  # tokens of later passes count too, but are nowhere said
    stream = Stream(
        begin, lambda drawn: window(drawn, report if begun == 1 else told), size, report=report
    )
    return stream, first


def write_reports(reports: Mapping[str, Report], folder: Path) -> None:
    """Write data_report.json: all that is known of what became of the rows."""
    told = {split: report.told() for split, report in reports.items()}
    write_text(folder / REPORT, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def _report(plan: Plan, said: Mapping[str, Any] | None = None) -> Report:
    """Return an empty report, or one that was written, that knows what the recipe does."""
    data = plan.recipe.data
    policies = {"duplicate": data.on_duplicate, "leaked": data.on_leak, "near-leaked": data.on_leak}
    if data.on_bad == "fail":
        bad = [t.name for t in troubles if t.default == "drop" and "fail" in t.policies]
        policies |= dict.fromkeys((name for name in bad if name != "too-long"), "fail")
    return Report.of({**(said or Report().as_dict()), "policies": policies, "strict": data.strict})


def _tell(split: str, report: Report, event: Event) -> None:
    """Say what became of rows."""
    if not report.rows and not report.counts:  # of a stream, whose rows are yet to come
        return
    event("data", split=split, text=report.describe(), **report.summary())
    if report.samples < report.rows / 2:
        text = f"only {report.samples:,} of {report.rows:,} rows are trained on"
        event("warning", text=text, about="rows")


def _shared(
    plan: Plan, share: float, everything: Encoded, reports: dict[str, Report], event: Event
) -> tuple[Encoded, Encoded]:
    """Return the training samples without a share that is held out, and that."""
    reports["validation"] = _report(plan)
    return hold_out(
        everything,
        share,
        plan.recipe.train.seed,
        reports["train"],
        reports["validation"],
        say=lambda text: event("warning", text=text),
    )


def _unseen(train: Encoded, held: Encoded, report: Report, near: bool) -> Encoded:
    """Return the validation samples, without those that are trained on if the recipe drops them."""
    left = apart(train, held, report, near=near)
    if not len(left):
        what = f"all {len(held):,} validation samples are trained on too"
        raise DataError(Problem(where="data.validation", what=what, fix="hold out other rows"))
    return left


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
    found: Iterator[Sample],
    report: Report,
    tried: Trial | None,
    tokenizer: Tokenizer,
    event: Event,
    folder: Path | None,
    progress: Callable[[int], None],
) -> Encoded:
    template = Asked.of(tried.template) if tried else None
    made = _tokens(
        plan,
        found,
        template,
        tokenizer,
        report,
        progress=progress,
        folder=folder,
        processes=plan.recipe.data.num_proc,
    )
    event("rows", report=report.as_dict())
    if template is not None and (left := template.describe()):
        event("warning", text=left)
    return made


def _tokens(
    plan: Plan,
    found: Iterable[Sample],
    template: Asked | None,
    tokenizer: Tokenizer,
    report: Report,
    **how: Any,
) -> Encoded:
    """Return samples as tokens, as the recipe says; `how` is passed on to `encode`."""
    recipe = plan.recipe
    return encode(
        found,
        template,
        tokenizer,
        pairs=len(recipe.method.sides) == 2,
        supervise="all" if recipe.task == "text" else recipe.method.supervise,
        columns=recipe.method.columns,
        max_length=plan.room,
        on_long=recipe.data.on_long,
        report=report,
        **how,
    )
