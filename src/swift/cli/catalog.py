"""The data sets that have a name: what `swift list datasets` and `swift show dataset` say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from swift.core.errors import Problem, UserError
from swift.core.near import nearest_of
from swift.dataset.names import Listed, datasets, find_row, near

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
    """Return what the catalogue says of the data set called `name`.

    Raises:
        UserError: No row has that name; says the nearest one.
    """
    row = find_row(name)
    if row is None:
        close = near(name)
        fix = "write " + " or ".join(f"`{c}`" for c in close) if close else "swift list datasets"
        raise UserError(Problem(what=f"the catalogue has no data set `{name}`", fix=fix))
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
