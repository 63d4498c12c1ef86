"""What happened to the rows, counted by name: nothing is dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swift.core.errors import DataError, Problem
from swift.dataset.troubles import trouble_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from swift.dataset.encoded import Encoded

_SHOWN = 5
"""Origins kept of each kind of trouble."""

_FATAL = 20
"""Rows in trouble that are named before all stops, where trouble is to stop all."""


def _widths() -> Iterator[int]:
    """Yield widths of bins that people like: 1, 2, 5, 10, 20, ..."""
    ten = 1
    while True:
        yield from (ten, 2 * ten, 5 * ten)
        ten *= 10


@dataclass
class Part:
    """What came of one data set."""

    rows: int = 0
    samples: int = 0
    """Rows that a format understood; what becomes of them later is the whole report's."""

    repeated: int = 0
    """Samples that came again, where it was begun again."""

    read_as: list[str] = field(default_factory=list)
    """How its rows were read, a line for each set of columns."""


@dataclass
class Report:
    """What happened to the rows: counts by name, with the first origins of each."""

    rows: int = 0
    samples: int = 0
    tokens: int = 0
    supervised: int = 0

    lost: int = 0
    """Tokens that were cut off."""

    counts: dict[str, int] = field(default_factory=dict)
    """Name of a trouble ("broken-line", "truncated", ...) -> rows it happened to."""

    origins: dict[str, list[str]] = field(default_factory=dict)

    readings: list[str] = field(default_factory=list)
    """How rows were read, a line for each set of columns: "mine.jsonl:1: read as alpaca (...)"."""

    parts: dict[str, Part] = field(default_factory=dict)
    """Name of a data set -> what came of it."""

    lengths: dict[int, int] = field(default_factory=dict)
    """Tokens of a sample's longest sequence, before any was cut -> how many samples."""

    policies: Mapping[str, str] = field(default_factory=dict)
    """Name of a trouble -> what becomes of such rows, where it is not the trouble's default."""

    strict: bool = False
    """Whether every trouble that may fail does."""

    def note(self, name: str, origin: str, count: int = 1) -> None:
        """Count one row, or several of which the first is named.

        Raises:
            DataError: Such rows are to stop all, and enough of them were found.
        """
        self.counts[name] = self.counts.get(name, 0) + count
        shown = self.origins.setdefault(name, [])
        if len(shown) < _SHOWN and origin not in shown:
            shown.append(origin)
        if (self.strict or self.policies) and self._fatal() >= _FATAL:
            self.check()

    def read_as(self, line: str) -> None:
        """Take in how rows of some columns are read, unless that has been said often enough."""
        if len(self.readings) < _SHOWN:
            self.readings.append(line)

    def part(self, name: str) -> Part:
        """Return what came of one data set, to be counted on."""
        return self.parts.setdefault(name, Part())

    def measure(self, lengths: ArrayLike, lost: int = 0) -> None:
        """Take in lengths of samples before they are cut, and how many tokens were cut off."""
        import numpy as np

        found, counts = np.unique(np.asarray(lengths), return_counts=True)
        for length, count in zip(found.tolist(), counts.tolist(), strict=True):
            self.lengths[length] = self.lengths.get(length, 0) + count
        self.lost += lost

    def repeat(self, dataset: str) -> None:
        """Count a sample of a data set that comes again."""
        self.part(dataset).repeated += 1
        self.note("repeated", dataset)

    def gain(self, some: Encoded) -> None:
        """Count samples in, as they are."""
        self.samples += len(some)
        self.tokens += int(some.lengths.sum())
        self.supervised += some.trained()
        self.measure(some.longest)

    def lose(self, some: Encoded) -> None:
        """Count samples out that had come through.

        Of one that was cut it is not known how long it was: it leaves the histogram as the
        shortest of its length or more.
        """
        self.samples -= len(some)
        self.tokens -= int(some.lengths.sum())
        self.supervised -= some.trained()
        for length, count in sorted(Counter(some.longest.tolist()).items(), reverse=True):
            left = self._forget(length, count)
            for longer in sorted(known for known in self.lengths if known > length and left):
                left = self._forget(longer, left)

    def _forget(self, length: int, count: int) -> int:
        """Take samples out of the histogram; return how many of them it had not."""
        known = self.lengths.pop(length, 0)
        if known > count:
            self.lengths[length] = known - count
        return max(0, count - known)

    def policy(self, name: str) -> str:
        """Return what becomes of rows in this trouble."""
        trouble = trouble_of(name)
        if self.strict and "fail" in trouble.policies:
            return "fail"
        return self.policies.get(name, trouble.default)

    def check(self) -> None:
        """Stop if there is trouble that is to stop all.

        Raises:
            DataError: There is; the first rows of each kind are named.
        """
        problems = [p for name in self._failing() for p in self._problems(name)]
        if problems:
            raise DataError(problems)

    def _failing(self) -> list[str]:
        return [name for name in self.counts if self.policy(name) == "fail"]

    def _fatal(self) -> int:
        return sum(self.counts[name] for name in self._failing())

    def _problems(self, name: str) -> list[Problem]:
        trouble, shown = trouble_of(name), self.origins[name]
        what, fix = f"{name}: {trouble.means}", trouble.repair
        problems = [Problem(where=origin, what=what, fix=fix) for origin in shown]
        if more := self.counts[name] - len(shown):
            problems.append(Problem(what=f"{name}: {more:,} more such rows", fix=fix))
        return problems

    @property
    def rejected(self) -> int:
        """Rows that are not trained on because something was wrong with them."""
        return sum(self.counts[name] for name in self.rejecting())

    def rejecting(self) -> list[str]:
        """Return the troubles that cost rows unasked, the most frequent first."""
        return [n for n in self.by_count() if self.policy(n) == "drop" and self.unasked(n)]

    def unasked(self, name: str) -> bool:
        """Return whether a trouble is one, and the recipe does not say what becomes of it."""
        trouble = trouble_of(name)
        return "fail" in trouble.policies and self.policy(name) == trouble.default

    def advice(self) -> str:
        """Return what mends the trouble that most rows have."""
        if not self.rows:
            return "the files hold no row"
        worst = next(iter(self.by_count()), "")
        return trouble_of(worst).repair or "look at the rows named"

    def describe(self) -> str:
        """Return a few lines for people: what there is, and a line for each trouble."""
        share = self.supervised / self.tokens if self.tokens else 0.0
        text = f"{self.samples:,} samples of {self.rows:,} rows, {self.tokens:,} tokens"
        text += f", {share:.0%} supervised" if self.supervised else ""
        text += f", {self.lost:,} cut off" if self.lost else ""
        for name in self.by_count():
            text += f"\n  {self.line(name)}"
        return "\n  ".join([text, *self.readings])

    def line(self, name: str) -> str:
        """Return a line for people about one trouble."""
        count, shown = self.counts[name], ", ".join(self.origins[name])
        shown += ", …" * (count > len(self.origins[name]))
        if name == "repeated":
            again = {name: part.repeated for name, part in self.parts.items() if part.repeated}
            shown = ", ".join(f"{name}: {times:,}" for name, times in again.items())
        return f"{name}: {count:,} ({shown}); {self.policy(name)}: {trouble_of(name).means}"

    def bins(self, most: int = 24) -> list[tuple[int, int, int]]:
        """Return a histogram of lengths as (from, to, samples), at most `most` of one width."""
        if not self.lengths:
            return []
        longest = max(self.lengths)
        width = next(w for w in _widths() if w * most > longest)
        counts = [0] * (longest // width + 1)
        for length, count in self.lengths.items():
            counts[length // width] += count
        return [(i * width, (i + 1) * width - 1, count) for i, count in enumerate(counts)]

    def quantile(self, share: float) -> int:
        """Return the length that this share of the samples does not exceed; 0 of none."""
        left = share * sum(self.lengths.values())
        for length in sorted(self.lengths):
            left -= self.lengths[length]
            if left <= 0:
                return length
        return 0

    def told(self) -> dict[str, Any]:
        """Return the report for a file that people and programs read."""
        share = self.supervised / self.tokens if self.tokens else 0.0
        quantiles = {f"p{round(100 * q)}": self.quantile(q) for q in (0.5, 0.9, 0.99)}
        return {
            "rows": self.rows,
            "samples": self.samples,
            "tokens": self.tokens,
            "supervised": self.supervised,
            "supervised_share": round(share, 6),
            "tokens_cut_off": self.lost,
            "datasets": {name: dict(vars(part)) for name, part in self.parts.items()},
            "lengths": {
                **quantiles,
                "longest": max(self.lengths, default=0),
                "bins": [list(row) for row in self.bins()],
            },
            "troubles": [self._told(name) for name in self.by_count()],
        }

    def _told(self, name: str) -> dict[str, Any]:
        trouble = trouble_of(name)
        return {
            "name": name,
            "count": self.counts[name],
            "policy": self.policy(name),
            "first": self.origins[name],
            "means": trouble.means,
            "repair": trouble.repair,
        }

    def by_count(self) -> list[str]:
        """Return the names of all troubles, the most frequent first."""
        return sorted(self.counts, key=lambda name: (-self.counts[name], name))

    def summary(self) -> dict[str, Any]:
        """Return the report for an event: all that is short."""
        long = ("lengths", "policies", "strict")
        return {name: value for name, value in self.as_dict().items() if name not in long}

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report; `Report.of` makes the same one of it."""
        said = {**vars(self), "policies": dict(self.policies)}
        said["parts"] = {name: dict(vars(part)) for name, part in self.parts.items()}
        said["lengths"] = [[n, self.lengths[n]] for n in sorted(self.lengths)]
        return said

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Report:
        """Return the report that `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        parts = {name: Part(**part) for name, part in said["parts"].items()}
        lengths = {int(length): int(count) for length, count in said["lengths"]}
        return cls(**{**said, "parts": parts, "lengths": lengths})
