"""Rows of known data sets to columns that a format knows: small steps, one after the other.

A row of the catalogue says the steps, with subsets that want others before `=>`:

    rename prompt>query answer>response | keep kind=qa
    en,fr => rename input>query ;; * => rename instruction>query
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from swift.core.errors import DataError, Problem
from swift.core.near import nearest_of
from swift.core.table import Table
from swift.dataset.raw import Raw

Row: TypeAlias = Mapping[str, Any]

Step: TypeAlias = Callable[[Row, Sequence[str]], Iterable[Row]]
"""Turns a row into rows, by its words: one usually, none where the row is left out."""


@dataclass(frozen=True)
class Adapter:
    """A step that has a name."""

    name: str
    step: Step


def _own() -> Iterator[Adapter]:
    from swift.dataset.steps import STEPS

    yield from (Adapter(name, step) for name, step in STEPS.items())


adapters: Table[Adapter] = Table("adapter", _own, lambda found: found.name)
"""All of them. A plug-in adds one with `@adapter("name")`."""


def adapter(name: str) -> Callable[[Step], Step]:
    """Register the decorated function as the step `name`."""

    def register(step: Step) -> Step:
        adapters.add(Adapter(name, step))
        return step

    return register


def adapter_of(said: str, subsets: Sequence[str]) -> str:
    """Return the steps that the subsets of a data set want, of all that its catalogue row says.

    Raises:
        DataError: They want different ones, so that they cannot be read as one.
    """
    if "=>" not in said:
        return said
    ways: dict[str, str] = {}
    for case in said.split(" ;; "):
        names, _, steps = case.partition("=>")
        ways |= dict.fromkeys(names.strip().split(","), steps.strip())
    wanted = {ways.get(subset, ways.get("*", "")) for subset in subsets or ("default",)}
    if "all" in subsets:
        wanted = set(ways.values())
    if len(wanted) > 1:
        what = f"the subsets {', '.join(subsets)} have different columns"
        raise DataError(
            Problem(where="dataset", what=what, fix="a data set for each: [NAME:a, NAME:b]")
        )
    return wanted.pop()


class Adapt:
    """The steps of a text, ready to be taken."""

    def __init__(self, said: str) -> None:
        """Read `said`; "" for no step at all.

        Raises:
            DataError: It names a step that does not exist.
        """
        self._steps = [_step(text) for text in said.split(" | ")] if said.strip() else []

    def __call__(self, raws: Iterable[Raw]) -> Iterator[Raw]:
        """Yield the rows that `raws` become.

        A row that has another shape than the data set should is a "wrong-shape"; one that a step
        leaves out is "left-out". Of a row that becomes several, each has the row's origin and
        its own number: "a.parquet:7/2".
        """
        if not self._steps:
            yield from raws
            return
        for raw in raws:
            yield from [raw] if raw.row is None else self._adapted(raw.row, raw.origin)

    def _adapted(self, row: Row, origin: str) -> Iterator[Raw]:
        try:
            made: list[Row] = [row]
            for step, words in self._steps:
                made = [after for before in made for after in step(before, words)]
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            yield Raw(row=None, origin=origin, trouble="wrong-shape")
            return
        if not made:
            yield Raw(row=None, origin=origin, trouble="left-out")
        for number, item in enumerate(made, 1):
            place = origin if len(made) == 1 else f"{origin}/{number}"
            yield Raw(row=dict(item), origin=place)


def _step(text: str) -> tuple[Step, Sequence[str]]:
    name, *words = shlex.split(text)
    found = adapters.get(name)
    if found is None:
        near = nearest_of(name, {known: known for known in adapters.names()})
        fix = f"write `{near[0]}`" if near else "one of " + ", ".join(adapters.names())
        what = f"there is no adapter `{name}`"
        raise DataError(Problem(where="dataset", what=what, fix=fix))
    return found.step, words
