"""One source's rows, read by columns: what a set of columns means is found out once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from swift.chat.message import MEDIA, Sample
from swift.core.errors import DataError, Problem, nearest
from swift.dataset.boxes import with_things
from swift.dataset.formats import Format, Reading
from swift.dataset.formats.wanted import WISHES, Wish
from swift.dataset.media import placed
from swift.dataset.rejects import Reject, Row
from swift.dataset.tasks import task_of
from swift.dataset.turns import tools

_MEDIA = frozenset(
    f"{side}{kind}{s}"
    for side in ("", "rejected_", "positive_", "negative_")
    for kind in MEDIA
    for s in ("s", "")
)
_REMEMBERED = 64
"""Sets of columns whose reading is remembered."""


_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)
"""What a format comes upon in a row that is not of its shape."""


class _Plan(NamedTuple):
    """How rows with one set of columns are read."""

    how: Format
    unread: tuple[str, ...]
    media: bool


class _Watched(dict[str, Any]):
    """A row that notes which of its columns are looked at."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        if name in self:
            self.seen.add(name)
        return super().get(name, default)


class Reader:
    """Reads the rows of one source."""

    def __init__(
        self,
        candidates: Sequence[Format],
        wish: str,
        task: str,
        on_reading: Callable[[Reading], object] | None,
    ) -> None:
        if wish not in WISHES:
            what = f"no method wants `{wish}` of a row"
            raise DataError(Problem(what=what, fix=nearest(wish, list(WISHES))))
        self._candidates, self._wish = candidates, WISHES[wish]
        self._task = task_of(task)
        self._on_reading = on_reading
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._told: set[tuple[str, tuple[str, ...]]] = set()

    def check(self, row: Row, origin: str) -> None:
        """Refuse a source whose first row shows that none will be understood.

        Raises:
            DataError: No format fits the columns, or they do not hold what is wanted.
        """
        if self._recognised(row) is None:
            raise DataError(_unfit(row, origin, self._candidates, self._wish))
        wish = self._wish
        if wish.columns and not any(name in row for name in wish.columns):
            raise DataError(_lacking(row, origin, wish))

    def samples(self, row: Row, origin: str) -> Iterable[Sample]:
        """Return the samples of a row.

        Raises:
            Reject: It gives none.
        """
        key = tuple([name for name, value in row.items() if value is not None])
        plan = self._plans.get(key)
        try:
            if plan is None:
                return self._first_look(key, row, origin)
            return self._read(plan, row, origin)
        except _UNREADABLE as error:
            raise Reject("wrong-shape") from error

    def _first_look(self, key: tuple[str, ...], row: Row, origin: str) -> Iterable[Sample]:
        """Read a row, and note what is looked at in rows with its columns."""
        how = self._recognised(row)
        if how is None:
            raise Reject("unknown-format")
        watched = _Watched(row)
        plan = _Plan(how, (), not _MEDIA.isdisjoint(row))
        made = tuple(self._read(plan, watched, origin))
        unread = tuple(name for name in key if name not in watched.seen)
        if len(self._plans) < _REMEMBERED:
            self._plans[key] = plan._replace(unread=unread)
        self._tell(how, tuple(name for name in key if name in watched.seen), unread, origin)
        if not unread:
            return made
        columns = {name: row[name] for name in unread}
        return tuple(replace(sample, columns=columns) for sample in made)

    def _read(self, plan: _Plan, row: Row, origin: str) -> Iterable[Sample]:
        made = plan.how.read(row)
        offered = made.tools or tools(row)
        columns = {name: row[name] for name in plan.unread}
        made = _with(made, tools=offered, origin=origin, columns=columns)
        whole = plan.how.read == self._task.sample and made.media  # a task places its own
        if not whole and (plan.media or made.media or made.rejected_media or made.other_media):
            made = placed(made, row)
        if not made.things and row.get("objects"):
            made = with_things(made, row)
        if self._task.media and not any(media.kind in self._task.media for media in made.media):
            raise Reject("no-media")
        return self._wish.take(made, row)

    def _recognised(self, row: Row) -> Format | None:
        """Return the first format that fits the columns with a value, else all columns."""
        filled = [name for name, value in row.items() if value is not None]
        for columns in (filled, row):
            for how in self._candidates:
                if how.fits(columns, self._wish.name):
                    return how
        return None

    def _tell(
        self, how: Format, read: tuple[str, ...], unread: tuple[str, ...], origin: str
    ) -> None:
        if self._on_reading is None or (how.name, unread) in self._told:
            return
        self._told.add((how.name, unread))
        self._on_reading(
            Reading(format=how.name, wish=self._wish.name, read=read, unread=unread, origin=origin)
        )


def _with(sample: Sample, **said: Any) -> Sample:
    """Return what `dataclasses.replace` does, in a tenth of its time: every row comes by here."""
    made = object.__new__(Sample)
    vars(made).update(vars(sample), **said)
    return made


def _unfit(row: Row, origin: str, candidates: Sequence[Format], wish: Wish) -> Problem:
    seen = ", ".join(map(repr, row)) or "none"
    served = [f for f in candidates if not f.serves or wish.name in f.serves] or candidates
    known = "; ".join(f"{f.name}: {' + '.join(f.wants)}" for f in served)
    whose = f"not those of `{served[0].name}`" if len(candidates) == 1 else "no format's"
    return Problem(
        where=origin,
        what=f"columns {seen} are {whose} ({known})",
        fix="name them: dataset: {name: …, columns: {your_column: query, …}}",
    )


def _lacking(row: Row, origin: str, wish: Wish) -> Problem:
    seen = ", ".join(map(repr, row)) or "none"
    return Problem(
        where=origin,
        what=f"columns {seen} hold {wish.lacks} (one of {', '.join(wish.columns)})",
        fix=f"name it: dataset: {{name: …, columns: {{your_column: {wish.fix}}}}}",
    )
