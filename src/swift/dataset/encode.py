"""Samples to tokens: ids and which of them are supervised, in a few flat arrays.

Nothing is dropped in silence: whatever does not come through is counted by name in the Report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from swift.chat.message import Message, Sample
from swift.core.errors import DataError, Problem
from swift.dataset.clean import key_of
from swift.dataset.cut import Cut, Texts, Way, cut
from swift.dataset.encoded import Block, Encoded, Store
from swift.dataset.pieces import pieces
from swift.dataset.report import Report

if TYPE_CHECKING:
    from swift.chat.template import Spanned, Template
    from swift.chat.tokenize import Tokenizer

Written: TypeAlias = "tuple[Sample, list[Spanned]]"
"""A sample, and the text of each of its sequences."""

CHUNK = 500
"""Samples tokenised in one call."""


def encode(
    samples: Iterable[Sample],
    template: Template | None,
    tokenizer: Tokenizer,
    *,
    pairs: bool,
    supervise: Literal["answers", "last", "all"],
    max_length: int,
    on_long: Literal["truncate", "drop", "split", "fail"],
    report: Report,
    progress: Callable[[int], None] | None = None,
    folder: Path | None = None,
    processes: int | None = 1,
    may_be_empty: bool = False,
    columns: Sequence[str] = (),
) -> Encoded:
    """Return `samples` as tokens; one tokenisation a sequence.

    Args:
        samples: Conversations, pairs or plain text.
        template: The model's own; None is enough for plain text.
        tokenizer: The model's own.
        pairs: Whether each item is a chosen and a rejected sequence.
        supervise: What the assistant says, what it says last, or every token. Of a pair only what
            comes after the shared prompt is supervised. Plain text is always supervised whole.
        max_length: Longest sequence, in tokens.
        on_long: What happens to longer ones: their end is cut, they are left out, become several
            (pairs and what cannot be split are cut), or all stops.
        report: Is told of everything that does not come through.
        progress: Is given the number of samples done, now and then.
        folder: An empty folder for the tokens, which are then mapped from there; None: memory.
        processes: How many tokenise; None: as many as there are cores, once there are many samples.
            The result is the same.
        columns: Fields of a sample that are kept as numbers: see `Encoded.columns`.
        may_be_empty: Whether it is no error if nothing is left, as of a part of the data.

    Raises:
        DataError: A sample is too long under "fail", or nothing is left to train on.
        MachineError: The folder cannot be written, or one of several processes dies.
    """
    sides = 2 if pairs else 1
    way = Way(tokenizer, sides, supervise == "all", max_length, on_long)
    last = supervise == "last"
    spans = partial(_spans, template=template, pairs=pairs, last=last, report=report)
    if on_long == "split" and not pairs:
        written = _split(spans(samples), spans, tokenizer, max_length, report)
    else:
        written = spans(samples)
    chunks = _texts(written, columns)
    store, done = Store(sides, folder, columns), 0
    try:
        for chunk, made in _cuts(chunks, way, processes):
            _note(chunk, made, way, report)
            store.add(_kept(chunk, made))
            done += len(chunk.origins)
            if progress is not None:
                progress(done)
        encoded = store.close()
    finally:
        store.stop()
    if not len(encoded) and not may_be_empty:
        what = f"no sample is left to train on: {report.describe()}"
        raise DataError(Problem(where="dataset", what=what, fix=report.advice()))
    return encoded


def _cuts(chunks: Iterator[Texts], way: Way, processes: int | None) -> Iterator[tuple[Texts, Cut]]:
    if processes == 1:
        return ((chunk, cut(chunk, way)) for chunk in chunks)
    from swift.dataset.crowd import in_order

    return in_order(chunks, way, processes)


def _note(chunk: Texts, made: Cut, way: Way, report: Report) -> None:
    """Tell the report what became of a chunk.

    Raises:
        DataError: A sample is too long, and that is to stop all.
    """
    for item in made.long.nonzero()[0].tolist():
        if way.on_long == "fail":
            longest = int(made.longest[item])
            raise DataError(
                Problem(
                    where=chunk.origins[item],
                    what=f"{longest} tokens, more than max_length {way.max_length}",
                    fix="raise data.max_length, or on_long: truncate or drop",
                )
            )
        report.note("too-long" if way.on_long == "drop" else "truncated", chunk.origins[item])
    for item in made.mute.nonzero()[0].tolist():
        report.note("no-supervised-token", chunk.origins[item])
    report.measure(made.longest, made.lost)
    report.samples += int(made.kept.sum())
    report.tokens += len(made.ids)
    report.supervised += made.counted


def _kept(chunk: Texts, made: Cut) -> Block:
    origins, keys, columns = chunk.origins, chunk.keys, chunk.columns
    if not made.kept.all():
        left = made.kept.nonzero()[0].tolist()
        origins, keys = [origins[item] for item in left], [keys[item] for item in left]
        columns = {name: [column[item] for item in left] for name, column in columns.items()}
    return Block(made.ids, made.supervised, made.sizes, origins, keys, columns)


def _split(
    items: Iterable[Written],
    spans: Callable[[Iterable[Sample]], Iterator[Written]],
    tokenizer: Tokenizer,
    most: int,
    report: Report,
) -> Iterator[Written]:
    """Yield samples with their texts, those that are too long in several."""

    def size(texts: list[Spanned]) -> int:
        return sum(len(tokenizer.encode(text.text)) for text in texts)

    for sample, texts in items:
        small = len(texts[0].text.encode()) < most  # a token is a byte at least
        if small or size(texts) + bool(sample.text) <= most:
            yield sample, texts
            continue
        parts = pieces(sample, tokenizer, lambda s: size(next(spans([s]), (s, []))[1]), most)
        if len(parts) > 1:
            report.note("split", sample.origin)
        yield from spans(parts)


def _texts(items: Iterable[Written], columns: Sequence[str]) -> Iterator[Texts]:
    """Yield chunks of samples as texts, and where each text's trained parts are."""
    source = iter(items)
    while chunk := list(islice(source, CHUNK)):
        texts = [text for _, made in chunk for text in made]
        ends = any(sample.text for sample, _ in chunk)
        yield Texts(
            [text.text for text in texts],
            [text.spans for text in texts],
            [sample.origin for sample, _ in chunk],
            [bool(sample.text) for sample, _ in chunk] if ends else [],
            [key_of(sample) for sample, _ in chunk],
            {name: [_number(getattr(sample, name)) for sample, _ in chunk] for name in columns},
        )


def _number(said: float | None) -> float:
    return nan if said is None else float(said)


def _spans(
    samples: Iterable[Sample], template: Template | None, pairs: bool, last: bool, report: Report
) -> Iterator[Written]:
    """Yield each sample with its text or texts; one that the template does not take is counted."""
    for sample in samples:
        if template is None and not sample.text:
            raise _conversation(sample)
        try:
            made = _spanned(sample, template, pairs, last)
        except DataError as error:
            report.note("template-refuses", f"{sample.origin} ({error.problems[0].what})")
        else:
            yield sample, made


def _spanned(sample: Sample, template: Template | None, pairs: bool, last: bool) -> list[Spanned]:
    if sample.text:
        from swift.chat.template import Spanned

        return [Spanned(sample.text, ((0, len(sample.text)),))]
    assert template is not None
    chosen = _trained(sample.chosen, template.spans(sample.chosen, sample.tools))
    if not pairs:
        return [_last(sample.chosen, chosen) if last else chosen]
    rejected = _trained(sample.rejected, template.spans(sample.rejected, sample.tools))
    shared = _shared(chosen.text, rejected.text)
    return [_after(chosen, shared), _after(rejected, shared)]


def _conversation(sample: Sample) -> DataError:
    what = "these rows are conversations, and plain text is trained"
    fix = "task: chat, or rows with a column `text`"
    return DataError(Problem(where=sample.origin, what=what, fix=fix))


def _trained(messages: Sequence[Message], spanned: Spanned) -> Spanned:
    """Leave out the turns whose own `loss` is false; with any that is true, only those count."""
    said = [m.loss for m in messages if m.role == "assistant" and m.loss is not None]
    if not said:
        return spanned
    unsaid = not any(said)
    keep = [(s, t) for s, t in zip(spanned.spans, spanned.turns, strict=True)
            if (unsaid if messages[t].loss is None else messages[t].loss)]  # fmt: skip
    return type(spanned)(spanned.text, tuple(s for s, _ in keep), tuple(t for _, t in keep))


def _last(messages: Sequence[Message], spanned: Spanned) -> Spanned:
    """Keep what the assistant says after the user has spoken last."""
    asked = max((n for n, message in enumerate(messages) if message.role == "user"), default=-1)
    first = sum(turn <= asked for turn in spanned.turns)
    return type(spanned)(spanned.text, spanned.spans[first:], spanned.turns[first:])


def _shared(a: str, b: str) -> int:
    """Return the number of leading characters that two texts share."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _after(spanned: Spanned, shared: int) -> Spanned:
    """Keep the answers that are not wholly inside the shared beginning."""
    spans = tuple(s for s in spanned.spans if s[1] > shared) or spanned.spans[-1:]
    return type(spanned)(spanned.text, spans)
