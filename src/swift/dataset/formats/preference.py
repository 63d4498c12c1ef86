"""Two answers: `chosen` and `rejected`."""

from __future__ import annotations

from typing import Any

from swift.chat.message import Sample
from swift.dataset.formats import Format
from swift.dataset.rejects import Row, listed
from swift.dataset.turns import TALKS, Said, answer, conversation, led, question


def read(row: Row) -> Sample:
    """Two answers: texts, turns or conversations; the question in them, before them or beside."""
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    return Sample(
        chosen=chosen.turns,
        rejected=rejected.turns,
        media=chosen.media,
        rejected_media=rejected.media,
    )


def _side(row: Row, name: str) -> Said:
    """Return the question and one answer to it, which may be a whole conversation itself."""
    said = row.get(name)
    said = row.get(f"{name}_response") if said is None else said
    if not said and name == "rejected":
        return Said()
    found = answer(_opened(said))
    if found.turns[0].role in ("system", "developer", "user"):
        return led(row, found)
    return _asked(row) + found


def _opened(said: Any) -> Any:
    """Return a list that a table holds as text."""
    if isinstance(said, str) and said.lstrip().startswith(("[{", '{"role', '{"from')):
        return listed(said)
    return said


def _asked(row: Row) -> Said:
    """Return the question: a conversation so far, or a text."""
    for name in TALKS:
        if row.get(name):
            return led(row, conversation(row[name]))
    return question(row)


FORMATS = (Format.of("preference", "chosen|chosen_response rejected|rejected_response", read=read),)
