"""Would this run be wasted? Its data, template, memory, disk and time, before any device works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swift.core.files import size_words
from swift.dataset.batches import Schedule
from swift.dataset.packs import packs
from swift.dataset.report import Report
from swift.dataset.troubles import trouble_of
from swift.plan import Plan, resolve
from swift.run import needs
from swift.run.data import Prepared, prepare
from swift.run.folder import obstacle

if TYPE_CHECKING:
    from swift.recipe import Recipe

_HALF = 0.5
"""Share of rows, or of tokens, whose loss makes a run a waste."""

_TIGHT = 0.85
"""Share of a device's memory from which a first figure of what is needed is no promise."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that speaks against the run."""

    level: Literal["failure", "warning"]
    """failure: the run would be wasted."""

    name: str
    """Of a trouble, or: rejected, cut-off, folder, memory, disk, leaked, warning."""

    text: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A sample as it is trained."""

    origin: str
    parts: tuple[tuple[str, bool], ...]
    """Text, and whether its tokens are trained."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check found."""

    plan: Plan
    reports: Mapping[str, Report]
    steps: int
    memory: Mapping[str, int]
    """What takes how many bytes on one device."""

    room: int | None
    """Bytes of one device; None where nobody knows."""

    disk: int
    free: int
    """Bytes that checkpoints take, and that are free."""

    seconds: float | None
    """Of the training; None where the device's speed is not known."""

    rests: str
    """What the seconds rest on."""

    findings: tuple[Finding, ...]
    shown: tuple[Shown, ...] = field(default=())

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What would make the run a waste."""
        return tuple(f for f in self.findings if f.level == "failure")


def check(recipe: Recipe, *, show: int = 0, say: Callable[[str], object]) -> Checked:
    """Return what is to be known of a run before it begins; no device is touched.

    The rows become tokens as for training, which finds them kept.

    Args:
        recipe: What is wished.
        show: How many samples to show.
        say: Is told how far the work is.

    Raises:
        PlanError: It cannot be done here; all reasons.
        DataError: The rows cannot be read, or nothing is left to train on.
    """
    plan = resolve(recipe)
    warnings: list[str] = []

    def event(kind: str, **fields: Any) -> None:
        about = fields.get("about")
        if about == "sizes" or (kind == "warning" and about != "rows"):  # which the report says
            warnings.append(fields["text"])
        elif kind == "note":
            say(fields["text"])

    prepared = prepare(_whole(plan), event, near_leaks=True)
    steps, tokens = _steps(plan, prepared)
    shape = needs.shape_of(plan)
    longest, mean = int(prepared.train.lengths.max()), float(prepared.train.lengths.mean())
    if plan.recipe.data.packing:
        longest = plan.room * prepared.train.sides
    speed = needs.speed(plan)
    found = Checked(
        plan=plan,
        reports=prepared.reports,
        steps=steps,
        memory=needs.memory(plan, shape, longest),
        room=needs.capacity(plan),
        disk=needs.disk(plan, shape),
        free=needs.free(plan),
        seconds=needs.work(plan, shape, tokens, mean) / speed[0] if speed else None,
        rests=speed[1] if speed else "the speed of this device is in no table",
        findings=(),
        shown=tuple(_shown(plan, prepared, show)),
    )
    return _judged(found, prepared, warnings)


def _whole(plan: Plan) -> Plan:
    """Return a plan that reads all of its rows beforehand, also where training streams them."""
    recipe = plan.recipe
    if not recipe.data.streaming:
        return plan
    data = recipe.data.model_copy(update={"streaming": False})
    return plan.model_copy(update={"recipe": recipe.model_copy(update={"data": data})})


def _steps(plan: Plan, prepared: Prepared) -> tuple[int, int]:
    """Return (steps, tokens) of the whole run."""
    lengths, options = prepared.train.lengths, plan.recipe.train
    count = len(lengths)
    if plan.recipe.data.packing:
        count = len(packs(lengths, plan.room * prepared.train.sides))
    schedule = Schedule(
        lengths=lengths[:count],
        batch_size=plan.sizes.batch,
        micro_batch_size=plan.sizes.micro,
        epochs=options.epochs,
        max_steps=options.max_steps,
    )
    steps = schedule.total_steps
    return steps, round(int(lengths.sum()) * steps / schedule.steps_per_epoch)


def _judged(found: Checked, prepared: Prepared, warnings: list[str]) -> Checked:
    findings = [
        *_of_rows(found.reports["train"], _held_out(found)),
        *_of_validation(prepared, found.reports.get("validation")),
        *_of_machine(found),
        *(Finding(level="warning", name="warning", text=text) for text in warnings),
    ]
    return replace(found, findings=tuple(findings))


def _held_out(found: Checked) -> Report:
    """Return the report of a share of the training rows; an empty one where none is held out."""
    drawn = not isinstance(found.plan.recipe.data.validation, str)
    return found.reports.get("validation", Report()) if drawn else Report()


def _of_rows(report: Report, held: Report) -> Iterator[Finding]:
    """Yield what is wrong with all rows that were read; of them `held` were held out."""
    rows, tokens = report.rows + held.rows, report.lost + report.tokens + held.tokens
    if report.rejected > _HALF * rows:
        text = f"{report.rejected:,} of {rows:,} rows are rejected"
        fix = trouble_of(report.rejecting()[0]).repair
        yield Finding(level="failure", name="rejected", text=text, fix=fix)
    if report.lost > _HALF * tokens:
        text = f"{report.lost:,} of {tokens:,} tokens are cut off"
        yield Finding(level="failure", name="cut-off", text=text, fix="raise data.max_length")
    yield from _of_troubles(report)


def _of_troubles(report: Report) -> Iterator[Finding]:
    """Yield each trouble that nobody asked for; what the recipe decides is only counted."""
    for name in filter(report.unasked, report.by_count()):
        text = f"{name}: {report.counts[name]:,} ({report.policy(name)})"
        yield Finding(level="warning", name=name, text=text, fix=trouble_of(name).repair)


def _of_validation(prepared: Prepared, report: Report | None) -> Iterator[Finding]:
    held = prepared.validation
    if report is None or held is None:
        return
    seen = report.counts.get("leaked", 0) + report.counts.get("near-leaked", 0)
    if seen >= len(held) and report.policy("leaked") == "keep":
        text = f"all {len(held):,} validation samples are trained on too"
        yield Finding(level="failure", name="leaked", text=text, fix="hold out other rows")
    yield from _of_troubles(report)


def _of_machine(found: Checked) -> Iterator[Finding]:
    if why := _taken(found.plan):
        text = f"{found.plan.output_dir} is taken: {why}; nothing is overwritten"
        yield Finding(level="failure", name="folder", text=text, fix="another output_dir")
    needed, room = sum(found.memory.values()), found.room
    if room is not None and needed > _TIGHT * room:
        level: Literal["failure", "warning"] = "failure" if needed > room else "warning"
        text = f"about {size_words(needed)} of memory are needed, and {size_words(room)} are there"
        fix = (
            "lower train.micro_batch_size or data.max_length; quant: bnb; or fsdp over more devices"
        )
        yield Finding(level=level, name="memory", text=text, fix=fix)
    if found.disk > found.free:
        text = f"checkpoints take {size_words(found.disk)}, and {size_words(found.free)} are free"
        yield Finding(level="failure", name="disk", text=text, fix="lower train.keep")


def _taken(plan: Plan) -> str:
    """Return why the run folder cannot be the plan's; "" if it can."""
    folder = Path(plan.output_dir) if plan.output_dir else None
    if folder is None or not folder.is_dir():
        return ""
    return obstacle(plan, folder) if any(p.name != ".lock" for p in folder.iterdir()) else ""


def _shown(plan: Plan, prepared: Prepared, count: int) -> Iterator[Shown]:
    """Yield some samples, from the first to the last, as they are trained."""
    from swift.chat.tokenize import Tokenizer

    train = prepared.train
    count = min(count, len(train))
    if not count:
        return
    tokenizer = Tokenizer.load(plan.model.voice)
    for number in range(count):
        item = number * len(train) // count
        for side in range(train.sides):
            ids, marks = train.sequence(item, side)
            marks = marks.copy()
            marks[:1] = False  # of what comes first nothing is predicted
            yield Shown(origin=train.origins[item], parts=tuple(_runs(tokenizer, ids, marks)))


def _runs(tokenizer: Any, ids: Any, marks: Any) -> Iterator[tuple[str, bool]]:
    """Yield runs of tokens that are trained, or not, as text."""
    import numpy as np

    edges = [0, *((marks[1:] != marks[:-1]).nonzero()[0] + 1).tolist(), len(ids)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield tokenizer.decode(np.asarray(ids[begin:end]).tolist()), bool(marks[begin])
