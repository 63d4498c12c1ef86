"""A plan's rows as tokens, made once: by the first of all processes and runs that want them."""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.env import cache_home
from swift.core.errors import WriteError
from swift.dataset.cache import Said, kept, key_of, stamp, unchanged
from swift.dataset.sources import Source, find

if TYPE_CHECKING:
    from swift.chat.verify import Trial
    from swift.dataset.encoded import Encoded
    from swift.plan import Plan
    from swift.recipe import Dataset

Event = Callable[..., Any]
Make = Callable[[Path | None, Event], "Encoded"]
"""Makes tokens, in a folder or in memory, and tells events."""

_ELSEWHERE = (
    *("shuffle", "bucket", "packing", "padding_free", "num_proc", "validation"),
    *("on_bad", "on_duplicate", "near_duplicates", "on_leak", "strict"),
)
"""Options of `data:` that change no token of a row."""

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)

_EVERY = 10.0
"""Seconds between two words on how far the work is."""


def once(
    plan: Plan, named: Sequence[Dataset], split: str, tried: Trial | None, make: Make, event: Event
) -> Encoded:
    """Return what `make` makes, or what it once made of the same; its events come either way.

    Args:
        plan: What to do.
        named: The data sets that `make` reads; none where it reads something live.
        split: Their part.
        tried: The template; None for plain text.
        make: Is called where nothing is kept, or nothing can be.
        event: Is told of everything.

    Raises:
        DataError: A data set is not found, or was written while it was read.
    """
    sources = [_source(said) for said in named] if _same_again(plan) else []
    if not sources:
        return make(None, event)
    home = cache_home() / "encoded"
    files = [path for source in sources for path in _read(source, split)]
    own = [plan.model.voice / name for name in _TOKENIZER]
    key = key_of(_options(plan, sources, split, tried), [*files, *own], home)

    def tell(said: Said) -> None:
        for told in said:
            event(told["event"], **{name: value for name, value in told.items() if name != "event"})

    def recorded(folder: Path) -> Said:
        said: Said = []
        before = stamp(files)
        try:
            make(folder, lambda kind, **fields: said.append({"event": kind, **fields}))
        except (OSError, WriteError):  # all is said again by the next try
            raise
        except BaseException:
            tell(said)
            raise
        unchanged(before)
        return said

    def note(text: str) -> None:
        event("note", text=text)

    try:
        found = kept(home, key, len(plan.recipe.method.sides), recorded, note)
    except WriteError as error:
        event("warning", text=_unkept(error))
        return make(None, event)
    tell(found.said)
    return found.encoded


def _unkept(error: WriteError) -> str:
    """Return the words of a run whose tokens are nowhere kept."""
    why = error.problems[0]
    fix = f"; to keep them, {why.fix} (SWIFT_CACHE names it)" if why.fix else ""
    return f"tokens are kept in memory, for this run alone: {why.what}{fix}"


def written(plan: Plan, named: Sequence[Dataset], split: str) -> str:
    """Return a digest of what a stream's rows depend on; files by path, size and time."""
    sources = [_source(said) for said in named]
    files = [path for source in sources for path in _read(source, split)]
    said = [stamp(files), _options(plan, sources, split, None)]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def progress(event: Event) -> Callable[[int], None]:
    """Return what tells now and then how many samples are done."""
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            event("note", text=f"{done:,} samples are tokens")

    return tell


def _same_again(plan: Plan) -> bool:
    """Return whether rows depend on nothing but files and options: pictures are looked at, too."""
    return plan.recipe.task in ("chat", "text") and not plan.recipe.data.image_folder


def _source(said: Dataset) -> Source:
    return find(said.name, subset=said.subset, part=said.split, documents=said.documents)


def _read(source: Source, split: str) -> tuple[Path, ...]:
    return (*source.files, *source.parts.get(source.part or split, ()))


def _options(
    plan: Plan, sources: Sequence[Source], split: str, tried: Trial | None
) -> dict[str, Any]:
    """Return what else tokens depend on."""
    recipe, method = plan.recipe, plan.recipe.method
    data = {k: v for k, v in recipe.data.model_dump().items() if k not in _ELSEWHERE}
    rows = [{**vars(source), "files": (), "parts": {}} for source in sources]
    said: dict[str, Any] = {
        "split": split,
        "sources": rows,
        "names": [[path.name for path in _read(source, split)] for source in sources],
        "dataset": [said.model_dump() for said in recipe.dataset] if split == "train" else [],
        "data": data,
        "task": recipe.task,
        "method": [method.wants, method.supervise, method.sides, method.columns],
        "seed": recipe.train.seed,
        "room": plan.room,
        "plugins": [plugin.digest for plugin in plan.plugins],
    }
    if tried is not None:
        said["template"] = [tried.template.fingerprint, vars(tried.verdict)]
        if "strftime_now" in tried.template.source:
            said["day"] = datetime.date.today().isoformat()
    return said
