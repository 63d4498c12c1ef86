"""Samples to tokens: ids and which of them are supervised, in a few flat arrays.

Nothing is dropped in silence: whatever does not come through is counted by name in the Report.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Literal

from swift.chat.message import Message, Sample
from swift.core.errors import DataError, Problem
from swift.dataset.report import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swift.chat.template import Spanned, Template
    from swift.chat.tokenize import Tokenizer

CHUNK = 1000
"""Samples tokenised in one call."""


@dataclass(frozen=True)
class Encoded:
    """Items of k sequences each (one, or chosen and rejected), in flat arrays."""

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    """Where each sequence begins; sequence s of item i is number i * sides + s."""

    sides: int
    origins: Sequence[str]

    def __len__(self) -> int:
        return (len(self.offsets) - 1) // self.sides

    def sequence(self, item: int, side: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return (ids, supervised) of one sequence."""
        number = item * self.sides + side
        begin, end = self.offsets[number], self.offsets[number + 1]
        return self.ids[begin:end], self.supervised[begin:end]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each item, all its sequences together."""
        return self.offsets[self.sides :: self.sides] - self.offsets[: -1 : self.sides]

    def take(self, items: Sequence[int]) -> Encoded:
        """Return only `items`, in that order."""
        import numpy as np

        numbers = [i * self.sides + s for i in items for s in range(self.sides)]
        spans = [slice(self.offsets[n], self.offsets[n + 1]) for n in numbers]
        sizes = [s.stop - s.start for s in spans]
        return Encoded(
            ids=np.concatenate([self.ids[s] for s in spans]) if spans else self.ids[:0],
            supervised=np.concatenate([self.supervised[s] for s in spans])
            if spans
            else self.supervised[:0],
            offsets=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
            sides=self.sides,
            origins=[self.origins[i] for i in items],
        )

    def fingerprint(self) -> str:
        """Return a digest of all ids and marks, in order."""
        total = hashlib.sha256()
        for part in (self.ids, self.supervised, self.offsets):
            total.update(part.tobytes())
        return total.hexdigest()[:16]


def encode(
    samples: Iterable[Sample],
    template: Template | None,
    tokenizer: Tokenizer,
    *,
    pairs: bool,
    supervise: Literal["answers", "all"],
    max_length: int,
    on_long: Literal["truncate", "drop", "fail"],
    report: Report,
    progress: Callable[[int], None] | None = None,
) -> Encoded:
    """Return `samples` as tokens; one tokenisation a sequence.

    Args:
        samples: Conversations, pairs or plain text.
        template: The model's own; None is enough for plain text.
        tokenizer: The model's own.
        pairs: Whether each item is a chosen and a rejected sequence.
        supervise: What the assistant says, or every token. Of a pair only what comes after the
            shared prompt is supervised. Plain text is always supervised whole.
        max_length: Longest sequence, in tokens.
        on_long: What happens to longer ones: their end is cut, they are left out, or all stops.
        report: Is told of everything that does not come through.
        progress: Is given the number of samples done, now and then.

    Raises:
        DataError: A template cannot render a sample, a sample is too long under "fail", or nothing
            is left to train on.
    """
    store = _Store(2 if pairs else 1, max_length, on_long, report)
    done = 0
    source = iter(samples)
    while chunk := list(islice(source, CHUNK)):
        for _, alike in groupby(chunk, key=lambda sample: bool(sample.text)):
            run = list(alike)
            sequences = _tokens(run, template, tokenizer, pairs, supervise)
            for sample, made in zip(run, sequences, strict=True):
                store.add(sample, made)
        done += len(chunk)
        if progress is not None:
            progress(done)
    encoded = store.close()
    if not len(encoded):
        raise DataError(
            Problem(
                where="dataset",
                what=f"no sample is left to train on: {report.describe()}",
                fix=_advice(report),
            )
        )
    return encoded


def _advice(report: Report) -> str:
    if not report.rows:
        return "the files hold no row"
    worst = max(report.counts, key=lambda name: report.counts[name])
    advice = {
        "no-rejected": "pairs need a second answer: a column `rejected` or `rejected_response`",
        "truncated": "raise data.max_length",
        "too-long": "raise data.max_length, or on_long: truncate",
        "broken-line": "one JSON object a line",
        "not-utf-8": "save the file as UTF-8",
        "missing-key": "name the columns: dataset: {name: …, columns: {yours: query, …}}",
    }
    return advice.get(worst, "look at the rows named")


_Tokens = tuple[Sequence[int], Sequence[bool]]


def _tokens(
    chunk: Sequence[Sample],
    template: Template | None,
    tokenizer: Tokenizer,
    pairs: bool,
    supervise: str,
) -> Iterator[list[_Tokens]]:
    """Yield the sequences of each sample of a chunk: all of it text, or none of it."""
    if chunk[0].text:
        for ids in tokenizer.encode_batch([s.text for s in chunk]):
            whole = [*ids, tokenizer.eos_id]
            yield [(whole, [True] * len(whole))]
        return
    if template is None:
        raise DataError(
            Problem(
                where=chunk[0].origin,
                what="these rows are conversations, and plain text is trained",
                fix="task: chat, or rows with a column `text`",
            )
        )
    texts: list[Spanned] = []
    for sample in chunk:
        texts += _spanned(sample, template, pairs)
    made = tokenizer.encode_spanned(texts)
    if supervise == "all":
        made = [(ids, [True] * len(ids)) for ids, _ in made]
    sides = 2 if pairs else 1
    for start in range(0, len(made), sides):
        yield list(made[start : start + sides])


def _spanned(sample: Sample, template: Template, pairs: bool) -> list[Spanned]:
    try:
        chosen = _trained(sample.chosen, template.spans(sample.chosen, sample.tools))
        if not pairs:
            return [chosen]
        rejected = _trained(sample.rejected, template.spans(sample.rejected, sample.tools))
    except DataError as error:
        problems = [
            Problem(what=p.what, fix=p.fix, where=sample.origin or p.where) for p in error.problems
        ]
        raise DataError(problems) from error
    shared = _shared(chosen.text, rejected.text)
    return [_after(chosen, shared), _after(rejected, shared)]


def _trained(messages: Sequence[Message], spanned: Spanned) -> Spanned:
    """Leave out the turns whose own `loss` is false; with any that is true, only those count."""
    said = [m.loss for m in messages if m.role == "assistant" and m.loss is not None]
    if not said:
        return spanned
    unsaid = not any(said)
    keep = [(s, t) for s, t in zip(spanned.spans, spanned.turns, strict=True)
            if (unsaid if messages[t].loss is None else messages[t].loss)]  # fmt: skip
    return type(spanned)(spanned.text, tuple(s for s, _ in keep), tuple(t for _, t in keep))


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


class _Store:
    """Grows the flat arrays."""

    def __init__(self, sides: int, max_length: int, on_long: str, report: Report) -> None:
        self._sides, self._max, self._on_long, self._report = sides, max_length, on_long, report
        self._ids, self._on = array("i"), bytearray()
        self._offsets = array("q", [0])
        self._origins: list[str] = []

    def add(self, sample: Sample, sequences: list[_Tokens]) -> None:
        """Take in one sample, or count why not."""
        report = self._report
        longest = max(len(ids) for ids, _ in sequences)
        if longest > self._max:
            if self._on_long == "fail":
                raise DataError(
                    Problem(
                        where=sample.origin,
                        what=f"{longest} tokens, more than max_length {self._max}",
                        fix="raise data.max_length, or on_long: truncate or drop",
                    )
                )
            if self._on_long == "drop":
                report.note("too-long", sample.origin)
                return
            sequences = [(ids[: self._max], on[: self._max]) for ids, on in sequences]
            report.note("truncated", sample.origin)
        counts = [sum(on[1:]) for _, on in sequences]
        if not all(counts):
            report.note("no-supervised-token", sample.origin)
            return
        for ids, on in sequences:
            self._ids.extend(ids)
            self._on.extend(on)
            self._offsets.append(len(self._ids))
        self._origins.append(sample.origin)
        report.samples += 1
        report.tokens += sum(len(ids) for ids, _ in sequences)
        report.supervised += sum(counts)

    def close(self) -> Encoded:
        """Return what was taken in."""
        import numpy as np

        return Encoded(
            ids=np.frombuffer(self._ids, dtype=np.int32) if self._ids else np.zeros(0, np.int32),
            supervised=np.frombuffer(self._on, dtype=np.bool_) if self._on else np.zeros(0, bool),
            offsets=np.array(self._offsets, dtype=np.int64),
            sides=self._sides,
            origins=self._origins,
        )
