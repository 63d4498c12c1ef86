"""How a data set is written: `[HF::|MS::]NAME[@REVISION][:SUBSET[/SUBSET]][#ROWS]`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from swift.core.errors import DataError, Problem

_HUBS = {"hf": "huggingface", "ms": "modelscope"}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a name says."""

    stem: str
    """Path or name."""

    hub: str = "auto"
    """auto, huggingface or modelscope."""

    revision: str = ""
    """Branch, tag or commit on the hub; "" for the main one."""

    subsets: tuple[str, ...] = ()
    """Subsets of it; () for the default one."""

    take: int | None = None
    """Rows to draw; None for all."""


def readings(name: str) -> Iterator[Said]:
    """Yield what `name` may say, the reading with the longest path first.

    A path may hold `#`, `:` and `@` of its own, so that only who looks knows which one is meant.

    Raises:
        DataError: What follows # is no number of rows.
    """
    yield Said(stem=name)
    said = Said(stem=name)
    stem, sign, count = name.rpartition("#")
    if sign:
        if not (count.isdecimal() and len(count) < 19 and int(count)):
            what = f"`{name}`: after # comes a number of rows, not `{count}`"
            raise DataError(Problem(where="dataset", what=what, fix=f"{stem}#500"))
        said = replace(said, stem=stem, take=int(count))
        yield said
    prefix, sign, rest = said.stem.partition("::")
    if sign and prefix.casefold() in _HUBS:
        said = replace(said, stem=rest, hub=_HUBS[prefix.casefold()])
    stem, sign, subsets = said.stem.rpartition(":")
    if sign and stem and subsets:
        said = replace(said, stem=stem, subsets=tuple(filter(None, subsets.split("/"))))
    stem, sign, revision = said.stem.rpartition("@")
    if sign and stem and revision:
        yield said
        said = replace(said, stem=stem, revision=revision)
    yield said
