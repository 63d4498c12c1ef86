"""Which row of the catalogue a data set's name means, and what it is called on each hub.

A row has several names: its name, its id on each hub, each id without its organisation, and the
further names of its column `names`; all in any case. Where two rows could have one name, it goes to
the row whose `name` it is, then whose id, then whose id without the organisation, then to the one
that lists it among its `names`; among equals to the one that stands first in the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swift.core.errors import UserError
from swift.core.near import nearest_of
from swift.core.table import Table, remembered
from swift.hub.ref import Ref


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A row of catalog.csv, or a plug-in's: a data set that has a name."""

    name: str
    """In lower case."""

    names: tuple[str, ...] = ()
    """Further names, in lower case."""

    modelscope: str = ""
    """Its id there; "" where it is not there."""

    huggingface: str = ""
    """Its id there; "" where it is not there."""

    source: str = ""
    """Where its rows are, if on no hub: `file:` with a path; `generated:` with "module:function",
    which is called with the split ("train", ...) and the seed, and yields rows."""

    subsets: tuple[str, ...] = ()
    """Its subsets; the first is the one to take where nobody says, unless it has a default."""

    part: str = ""
    """Part to learn from, where that is not called "train"."""

    task: str = "chat"
    """The shape of its samples: chat, text, vqa, caption, ocr, grounding, asr, ..."""

    uses: tuple[str, ...] = ()
    """What it is for: sft, pt, dpo, kto, rm, grpo, embedding, reranker, eval, ..."""

    language: tuple[str, ...] = ()
    """Of its texts: zh, en, ...; () where nobody says."""

    rows: int = 0
    """How many it has, all subsets together; 0 where nobody says."""

    tags: tuple[str, ...] = ()
    """What it is about: math, code, medical, ...; `huge` for more than a disk may hold."""

    adapter: str = ""
    """What makes columns of its rows that a format knows, see `swift.dataset.adapters`; "" where
    they are such already."""

    about: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """Its ids, ModelScope's first, each once."""
        return tuple(dict.fromkeys(id for id in (self.modelscope, self.huggingface) if id))


_MANY = frozenset({"names", "subsets", "uses", "language", "tags"})
"""Columns that hold several words with | between."""


def _read() -> Iterator[Listed]:
    path = Path(__file__).parent / "catalog.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Listed(**{key: _value(key, text) for key, text in row.items()})


def _value(key: str, text: str) -> Any:
    if key == "rows":
        return int(text or 0)
    return tuple(filter(None, text.split("|"))) if key in _MANY else text


datasets: Table[Listed] = Table("data set", _read, lambda row: row.name)
"""All of them. A plug-in adds one with `datasets.add(Listed(...))`."""


def find_row(name: str) -> Listed | None:
    """Return the row that `name` means; None where no row has that name."""
    return _index().get(name.strip().casefold())


def brought(name: str) -> Listed | None:
    """Return the row that a plug-in brings under `name`, if one does."""
    row = find_row(name)
    return row if row is not None and row.name in datasets.foreign() else None


def near(name: str, also: Iterable[str] = (), most: int = 3) -> tuple[str, ...]:
    """Return the known names nearest to `name`; () if none is near.

    Args:
        name: What was said; with an organisation it is compared with ids, else with bare names.
        also: Ids beside the catalogue's.
        most: How many, if several are equally near.
    """
    said = name.strip().casefold()
    ids = [*also, *(id for row in datasets for id in row.ids)]
    if "/" in said:
        known = {id.casefold(): id for id in reversed(ids)}
    else:
        known = {_bare(id).casefold(): id for id in also}
        known |= {name: name for row in datasets for name in _short(row)}
    return nearest_of(said, known, most)


def refs_of(name: str, revision: str = "") -> Mapping[str, Ref]:
    """Return what a data set is called on each hub; {} where it is no name of a hub."""
    row = find_row(name)
    if row is not None:
        return refs_of_row(row, revision)
    refs = _refs({"huggingface": name, "modelscope": name}, revision)
    return refs if name.count("/") == 1 and refs and not Path(name).parent.exists() else {}


def refs_of_row(row: Listed, revision: str = "") -> Mapping[str, Ref]:
    """Return what a row of the catalogue is called on each hub that has it."""
    return _refs({"huggingface": row.huggingface, "modelscope": row.modelscope}, revision)


def _refs(ids: Mapping[str, str], revision: str) -> Mapping[str, Ref]:
    try:
        refs = {hub: Ref(kind="datasets", id=id) for hub, id in ids.items() if id}
    except UserError:
        return {}
    return {hub: replace(ref, revision=revision) for hub, ref in refs.items()}


@remembered
def _index() -> dict[str, Listed]:
    """Return name -> row, by the order of the rule above: who comes first has the name."""
    index: dict[str, Listed] = {}
    rows = datasets.rows()
    orders = (
        ((row.name, row) for row in rows),
        ((id, row) for row in rows for id in row.ids),
        ((_bare(id), row) for row in rows for id in row.ids),
        ((name, row) for row in rows for name in row.names),
    )
    for order in orders:
        for name, row in order:
            index.setdefault(name.casefold(), row)
    return index


def _short(row: Listed) -> Iterator[str]:
    """Yield the names of a row without organisation, in lower case."""
    yield row.name
    yield from (_bare(id).casefold() for id in row.ids)
    yield from row.names


def _bare(id: str) -> str:
    return id.rpartition("/")[2]
