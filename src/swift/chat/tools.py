"""Calls out: what a model says of tools, read back while it is said.

How models spell calls are rows of tools.csv; which one a model speaks is seen from its template's
own text. A cell `item` is a pattern for one call, and its groups say what it holds: `call` (a JSON
object with name and arguments, or a list of them), `name` with `arguments` (JSON) or with `pairs`
(each one as the cell `pair` says) or with `bare` (JSON with bare keys, whose texts stand as `pair`
says), or `python` (a list of Python calls). Where it has a group `channel`, it is the header of a
message: then everything that a model says stands in messages, and `channels.py` reads them.

A model may say anything, so the patterns take time linear in what they read: `++` and `(?>…)` do
not give back what has matched.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.chat._calls import Call as Call
from swift.chat._calls import calls_of, outside
from swift.core.table import Table

if TYPE_CHECKING:
    from swift.chat.channels import Channels

_TABLE = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True, kw_only=True)
class Style:
    """A row: how a call is spelt."""

    name: str
    signs: str
    """Texts that all stand in the templates of such models, with blanks between."""

    open: str
    """What a call begins with; ^ before it: only at the answer's beginning, and part of the item.
    Several with blanks between."""

    close: str
    """What ends it; "": the answer's end."""

    item: str
    """Pattern of one call between the two."""

    pair: str
    """Pattern of one argument within `pairs`."""

    id: str = ""
    """Letters of a call's id, where templates count them."""

    force: str = ""
    """What a prompt ends with where the answer has to be a call, up to the arguments of {name}."""

    ends: str = ""
    """Tokens that end an answer with a call, besides those that end any."""

    @property
    def channels(self) -> bool:
        """Whether everything that the model says stands in messages, each on its channel."""
        return "channel" in self.patterns[0].groupindex

    def begun(self, name: str) -> str:
        """Return the beginning of a call; of whichever tool for the name ""."""
        before, _, after = self.force.partition("{name}")
        return before + name + after if name else before

    @property
    def opens(self) -> tuple[str, ...]:
        """What a call may begin with."""
        return tuple(mark.removeprefix("^") for mark in self.open.split())

    @property
    def whole(self) -> bool:
        """Whether a call begins where the answer does, or not at all."""
        return self.open.startswith("^")

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Return those of an item and of a pair."""
        return re.compile(self.item, re.DOTALL), re.compile(self.pair, re.DOTALL)

    def marks(self, tokens: Collection[str]) -> list[str]:
        """Return those of a model's special tokens that spell calls."""
        text = f"{self.open} {self.close} " + (self.item + self.pair).replace("\\", "")
        return [token for token in tokens if token in text]


def _read() -> Iterator[Style]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Style(**{**row, "force": row["force"].replace("\\n", "\n")})


styles: Table[Style] = Table("call style", _read, lambda style: style.name)
"""All rows; what stands first goes first. A plug-in adds one with `styles.add(Style(...))`."""


def style_of(source: str) -> Style | None:
    """Return how a model of this template spells calls; None where nothing tells."""
    if "tool" not in source:
        return None
    plain = source.replace('\\"', '"')
    return next(
        (s for s in styles.by_weight() if all(sign in plain for sign in s.signs.split())), None
    )


_MOST_QUOTED = 100
"""Closes within the texts of one call; each is a reason to read the call from its beginning."""


class Reader:
    """Splits an answer, in pieces of any size, into text and calls.

    No character is lost: what looks like a call and is none comes out as text. Only the white
    space around a call belongs to it. However the answer is cut into pieces, the calls and the
    joined text are the same.
    """

    def __init__(self, style: Style, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """Read calls of a style.

        Args:
            style: How they are spelt.
            tools: In OpenAI's shape. They tell types of arguments that are spelt as bare text;
                and an answer that is JSON as a whole is a call only of one of these.
        """
        self._style, self._tools = style, tools
        self._held = ""
        """What is not told yet: while `_mark`, what came after it."""

        self._space = self._mark = ""
        self._seen = 0
        """Characters of `_held` that hold no close."""

        self._quoted = 0
        """Closes of the call that began which were looked at for standing in its texts."""

        self._plain = self._after = False
        """Only text can come; a call has just ended."""

    def push(self, text: str) -> list[str | Call]:
        """Return what is sure now, in order."""
        self._held += text
        return self._read(last=False)

    def end(self) -> list[str | Call]:
        """Return what was held back."""
        return self._read(last=True)

    def _read(self, *, last: bool) -> list[str | Call]:
        out: list[str | Call] = []
        while self._in_call(out, last) if self._mark else self._in_text(out, last):
            pass
        return [piece for piece in out if piece != ""]

    def _in_text(self, out: list[str | Call], last: bool) -> bool:
        """Tell text up to the next call; return whether one begins."""
        if self._after:
            self._held = self._held.lstrip()
            self._after = not self._held
        at, mark = self._opening()
        if not mark:
            cut = len(self._held) - (0 if last else self._unsure())
            out.append(self._held[:cut])
            self._held = self._held[cut:]
            return False
        text = self._held[:at].rstrip()
        out.append(text)
        self._mark, self._space = mark, self._held[len(text) : at]
        self._held = self._held[at + len(mark) :]
        self._seen = self._quoted = 0
        return True

    def _in_call(self, out: list[str | Call], last: bool) -> bool:
        """Tell calls whose end has come; return whether to go on."""
        close = self._style.close
        at = self._held.find(close, self._seen) if close else -1
        if at < 0 and not last:
            self._seen = max(self._seen, len(self._held) - len(close) + 1)
            return False
        body = self._held if at < 0 else self._held[:at]
        head = self._mark if self._style.whole else ""
        if calls := calls_of(head + body, self._style, self._tools):
            out += calls
            self._held = "" if at < 0 else self._held[at + len(close) :]
            self._mark, self._after = "", True
        elif at >= 0 and self._open_quote(body):
            self._seen = at + 1
        else:
            out.append(self._space + self._mark)
            self._mark, self._plain = "", self._style.whole
        return True

    def _opening(self) -> tuple[int, str]:
        """Return where the next call begins, and with which mark; "" where none does."""
        if not self._style.whole:
            found = [(at, m) for m in self._style.opens if (at := self._held.find(m)) >= 0]
            return min(found, default=(0, ""))
        if self._plain:
            return 0, ""
        said = self._held.lstrip()
        mark = next((m for m in self._style.opens if said.startswith(m)), "")
        self._plain = not mark and not any(m.startswith(said) for m in self._style.opens)
        return len(self._held) - len(said), mark

    def _unsure(self) -> int:
        """Return how many of the last characters may belong to a call that begins."""
        if self._plain:
            return 0
        sizes = [_overlap(self._held, mark) for mark in self._style.opens]
        return len(self._held) - len(self._held[: len(self._held) - max(sizes)].rstrip())

    def _open_quote(self, body: str) -> bool:
        """Whether a close stands inside a text in JSON, and so closes nothing."""
        self._quoted += 1
        names = self._style.patterns[0].groupindex
        if self._quoted > _MOST_QUOTED or not {"bare", "call", "arguments"} & names.keys():
            return False
        if "bare" in names:
            return outside(body, self._style.patterns[1])[1]
        bare = body.replace("\\\\", "")
        return (bare.count('"') - bare.count('\\"')) % 2 == 1


def reader_of(style: Style, tools: Sequence[Mapping[str, Any]] = ()) -> Reader | Channels:
    """Return what reads an answer of a style, as it comes."""
    from swift.chat.channels import Channels

    return Channels(style) if style.channels else Reader(style, tools)


def read_calls(
    text: str, style: Style, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[str, list[Call]]:
    """Return a whole answer's text and its calls."""
    reader = reader_of(style, tools)
    pieces = [*reader.push(text), *reader.end()]
    said = "".join(p for p in pieces if isinstance(p, str))
    return said, [p for p in pieces if isinstance(p, Call)]


def _overlap(text: str, mark: str) -> int:
    """Return how many of the last characters of `text` begin `mark`."""
    sizes = range(min(len(text), len(mark) - 1), 0, -1)
    return next((n for n in sizes if text.endswith(mark[:n])), 0)
