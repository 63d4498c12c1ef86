"""The data sets that have a name: what `swift list datasets` and `swift show dataset` say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from swift.chat.message import Sample
from swift.core.errors import Problem, UserError
from swift.core.files import size_words
from swift.core.near import nearest_of
from swift.dataset.here import lack
from swift.dataset.look import look
from swift.dataset.names import Listed, datasets, find_row, near
from swift.dataset.sources import Source, on_machine

_WIDE = 100
"""Letters of a turn that are shown."""

KEYS = ("task", "language", "tag")
"""What the list may be asked for."""

_TASKS = frozenset({"vqa", "ocr", "caption", "grounding", "asr", "tts"})
"""Tags that say a second task."""

_SAYS: Mapping[str, Callable[[Listed], tuple[str, ...]]] = {
    "task": lambda row: (row.task, *row.uses, *(t for t in row.tags if t in _TASKS)),
    "language": lambda row: row.language,
    "tag": lambda row: row.tags,
}


def chosen(wishes: Mapping[str, str]) -> list[Listed]:
    """Return the data sets that fit every wish, by name.

    Args:
        wishes: `KEYS` -> a word: {"task": "vqa", "language": "zh"}.

    Raises:
        UserError: A word means nothing here; all of them.
    """
    rows, problems = list(datasets), list[Problem]()
    fits = list(rows)
    for key, word in wishes.items():
        said, says = word.casefold(), _SAYS[key]
        known = sorted({item for row in rows for item in says(row)})
        if said not in known:
            close = nearest_of(said, {item: item for item in known})
            fix = f"write `{close[0]}`" if close else f"one of {', '.join(known)}"
            what = f"no data set has the {key} `{word}`"
            problems.append(Problem(where=f"--{key}", what=what, fix=fix))
        fits = [row for row in fits if said in says(row)]
    if problems:
        raise UserError(problems)
    return sorted(fits, key=lambda row: row.name)


def as_dict(row: Listed) -> dict[str, Any]:
    """Return what is known of a data set, for JSON."""
    return asdict(row)


def table(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the lines of a table of data sets, its head first."""
    lines: list[tuple[str, ...]] = [("data set", "task", "for", "language", "rows", "about")]
    for row in rows:
        about = row["about"] or ", ".join(row["tags"])
        many = f"{row['rows']:,}" if row["rows"] else ""
        lines.append(
            (
                row["name"],
                row["task"],
                "+".join(row["uses"]),
                "+".join(row["language"]),
                many,
                about,
            )
        )
    return lines


def known_of(name: str) -> dict[str, Any]:
    """Return what is known of the data set called `name`: its files, or the catalogue's row.

    Raises:
        UserError: No row has that name, and nothing is there; says the nearest one.
        DataError: What is there is no data, or is broken.
        MachineError: It may not be read.
    """
    if (source := on_machine(name)) is not None:
        return _seen(name, source)
    row = find_row(name)
    if row is None:
        close = near(name)
        fix = "write " + " or ".join(f"`{c}`" for c in close) if close else "swift list datasets"
        what = f"the catalogue has no data set `{name}`, and {lack(name)}"
        raise UserError(Problem(what=what, fix=fix))
    found: dict[str, Any] = {
        "dataset": row.name,
        "about": row.about,
        "names": list(row.names),
        "huggingface": row.huggingface,
        "modelscope": row.modelscope,
        "source": row.source,
        "task": row.task,
        "for": list(row.uses),
        "language": list(row.language),
        "rows": row.rows,
        "tags": list(row.tags),
        "subsets": list(row.subsets),
        "split": row.part,
        "adapter": row.adapter,
    }
    return {key: value for key, value in found.items() if value}


def _seen(name: str, source: Source) -> dict[str, Any]:
    """Return what is in the files of a data set on this machine."""
    seen = look(source)
    parts = source.parts if len(source.parts) > 1 or len(source.files) > 1 else {}
    found: dict[str, Any] = {
        "dataset": name,
        "kind": ", ".join(seen.kinds),
        "size": size_words(seen.size),
        "files": [f"{part} {len(files)}" for part, files in parts.items()],
        "rows" if seen.counted else "rows about": seen.rows,
        "columns": list(seen.columns),
        "format": list(seen.formats),
        "sample": "\n".join(_turns(seen.sample)) if seen.sample else "",
        "notes": "\n".join(seen.notes),
    }
    return {key: value for key, value in found.items() if value}


def _turns(sample: Sample) -> Iterator[str]:
    """Yield a line for each turn of a sample, its text cut short."""
    if sample.text:
        yield _short(sample.text)
    for side, turns in (("", sample.chosen), ("rejected ", sample.rejected)):
        for turn in turns:
            yield f"{side}{turn.role}: {_short(turn.content)}"


def _short(text: str) -> str:
    line = " ".join(text[:1000].split())
    return line if len(line) <= _WIDE else f"{line[: _WIDE - 1]}…"
