"""Which row of the catalogue a name means, and which names are nearest to one that means none.

A row has several names: its id on ModelScope, its id on Hugging Face, each of them without its
organisation, and the further names of its column `names`, with or without either organisation; all
in any case. Where two rows could have one name, it goes to

1. the row that has it as an id, then
2. the row whose id it is without the organisation: those that are on Hugging Face first, then
3. the row that lists it among its `names`;

and among equals to the one that stands first in the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from swift.core.near import nearest_of
from swift.core.table import Table, remembered

_ADDRESS = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co|modelscope\.(?:cn|ai)/models)/"
    r"([^/?#]+/[^/?#]+)(?:[/?#].*)?"
)
"""A model's page on a hub, which is a name too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model of the catalogue; "" or 0 where the catalogue is silent."""

    modelscope: str = ""
    """Its id there: `LLM-Research/Meta-Llama-3-8B`; `ORG/NAME:FOLDER` for a part of one."""

    huggingface: str = ""
    """Its id there: `meta-llama/Meta-Llama-3-8B`."""

    family: str
    """The wide word: qwen, llama, internvl."""

    structure: str = ""
    """Its row in families.csv: transformers' model_type where it has one."""

    size: float = 0
    """Billions of parameters."""

    active: float = 0
    """Billions that one token meets, where not all of them."""

    kind: str = "chat"
    """What it was trained to be: base, chat, reasoning, reward, embedding, asr, ..."""

    modality: tuple[str, ...] = ("text",)
    """What it reads: text, image, video, audio, in this order."""

    packed: str = ""
    """How its weights are packed: awq, gptq-int4, fp8, ..."""

    names: tuple[str, ...] = ()
    """Further names, in lower case."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Its ids, ModelScope's first, each once."""
        return tuple(dict.fromkeys(id for id in (self.modelscope, self.huggingface) if id))

    @property
    def name(self) -> str:
        """The id without its organisation: how we speak of it."""
        return bare(self.huggingface or self.modelscope)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """What `resolve` says of a name that no row has."""

    names: tuple[str, ...]
    """The nearest names as ids are written, at most three: several if equally near; or none."""


def resolve(name: str) -> Row | Nearest:
    """Return the row that `name` means, or the names nearest to it."""
    row = find(name)
    return Nearest(names=near(name)) if row is None else row


def find(name: str) -> Row | None:
    """Return the row that `name` means; None where no row has that name."""
    return _index().get(_ADDRESS.sub(r"\1", name.strip()).casefold())


def near(name: str, also: Iterable[str] = (), most: int = 3) -> tuple[str, ...]:
    """Return the known names at the least distance from `name`, if that is small (core/near).

    Args:
        name: What was said; with an organisation it is compared with ids, else with bare names.
        also: Names beside the catalogue's; an id among them is near by its bare name too.
        most: How many, if several are equally near.
    """
    said = name.strip().casefold()
    known = {bare(id).casefold() if "/" not in said else id.casefold(): id for id in also}
    listed = _whole_names() if "/" in said else _bare_names()
    known |= {shown.casefold(): shown for shown in reversed(listed)}
    return nearest_of(said, known, most)


def rows() -> tuple[Row, ...]:
    """Return the catalogue, in the order of its file, and the models of plug-ins."""
    return models.rows()


def _read() -> Iterator[Row]:
    path = Path(__file__).parent / "catalog.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        head = next(lines)
        if head != list(Row.__slots__):
            raise ValueError(f"{path} has other columns than a Row")
        yield from map(_row, lines)


models: Table[Row] = Table("model", _read, lambda row: row.modelscope or row.huggingface)
"""The models that have a name. A plug-in adds one with `models.add(Row(...))`."""


def bare(id: str) -> str:
    """Return an id without its organisation."""
    return id.rpartition("/")[2]


def _row(line: list[str]) -> Row:
    modelscope, huggingface, family, structure, size, active, kind, modality, packed, names = line
    return Row(
        modelscope=modelscope,
        huggingface=huggingface,
        family=family,
        structure=structure,
        size=float(size or 0),
        active=float(active or 0),
        kind=kind,
        modality=("text", *modality.split("+")) if modality else ("text",),
        packed=packed,
        names=tuple(names.split("|")) if names else (),
    )


@remembered
def _index() -> dict[str, Row]:
    """Return name -> row, by the order of the rule above: who comes first has the name."""
    index: dict[str, Row] = {}
    on_both = sorted(rows(), key=lambda row: not row.huggingface)
    for row in rows():
        for id in row.ids:
            index.setdefault(id.casefold(), row)
    for row in on_both:
        for id in row.ids:
            index.setdefault(bare(id).casefold(), row)
    for row in rows():
        for name in _mixed(row):
            index.setdefault(name, row)
    return index


def _mixed(row: Row) -> Iterator[str]:
    """Yield the further names, then every name under either organisation."""
    yield from row.names
    names = [*(bare(id).casefold() for id in row.ids), *row.names]
    for id in row.ids:
        organisation = id.casefold().partition("/")[0]
        yield from (f"{organisation}/{name}" for name in names)


@remembered
def _whole_names() -> tuple[str, ...]:
    """Return the ids that hints choose from."""
    return tuple(id for row in rows() for id in row.ids)


@remembered
def _bare_names() -> tuple[str, ...]:
    """Return the names without organisation that hints choose from."""
    return tuple(name for row in rows() for name in (*(bare(id) for id in row.ids), *row.names))
