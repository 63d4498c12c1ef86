"""Conversations as text without running their template again for each.

A template that was watched (see _watched.py) on one conversation gives a form: fixed texts with
contents between them, and the questions that it asked of the contents. A conversation of the same
roles whose contents answer the questions alike is written by putting its contents in. What cannot
be followed is rendered; and every form is compared with the rendering again and again, ever more
rarely.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from swift.chat._traced import ANY_MARK, MARK, Numbered, read
from swift.chat._watched import Asked, Ref, Unfollowed, Watched
from swift.chat._watching import watching
from swift.chat.message import Message
from swift.chat.template import Spanned, Template

_SHAPES = 4096
"""Orders of roles that are learnt, at most."""

_FORMS = 6
"""Forms of one order of roles, at most: contents may answer differently."""

_CLOCK = re.compile(r"strftime_now\([^)]*%-?[^aAbBdejmuUVwWyYGgx%)]")
"""A template that tells the hour."""

Key = tuple[object, ...]


class Form(NamedTuple):
    """How conversations of one shape are written."""

    fixed: tuple[str, ...]
    """Texts before, between and after the contents: one more than these."""

    refs: tuple[Ref, ...]
    asked: tuple[Asked, ...]
    edges: tuple[tuple[int, int], ...]
    """Begin and end of each span in turn: (contents before it, fixed characters before it)."""

    turns: tuple[int, ...]

    def fits(self, messages: Sequence[Message]) -> bool:
        """Return whether the template does the same with these contents."""
        return all(asked.holds(messages[asked.ref.message].content) for asked in self.asked)

    def write(self, messages: Sequence[Message]) -> Spanned:
        """Return the text and its spans."""
        said = [
            ref.of(messages[ref.message].content) if ref.steps else messages[ref.message].content
            for ref in self.refs
        ]
        woven = [part for pair in zip(self.fixed, said, strict=False) for part in pair]
        sizes = [0, *accumulate(map(len, said))]
        at = [sizes[before] + fixed for before, fixed in self.edges]
        spans = tuple(zip(at[::2], at[1::2], strict=True))
        return Spanned("".join((*woven, self.fixed[-1])), spans, self.turns)


class Follower:
    """Writes conversations as a template does, by what it learnt of it."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._forms: dict[Key, list[tuple[Form, list[int]]]] = {}
        self._lost: set[Key] = set()
        self._dated = "strftime_now" in template.source
        self._off = bool(_CLOCK.search(template.source))

    def spans(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        more: Mapping[str, Any],
        render: Callable[[], Spanned],
    ) -> Spanned:
        """Return what `render` would.

        Raises:
            DataError: As `render`.
        """
        if self._off or tools or any(message.more for message in messages):
            return render()
        key = self._key(messages, more)
        for form, uses in self._forms.get(key, ()):
            if form.fits(messages):
                return self._written(form, uses, messages, render)
        rendered = render()
        if key not in self._lost:
            self._learn(key, messages, more, rendered)
        return rendered

    def _key(self, messages: Sequence[Message], more: Mapping[str, Any]) -> Key:
        shape = [m.role if m.content else (m.role,) for m in messages]
        day = datetime.date.today() if self._dated else None
        return (*shape, day, repr(more) if more else "")

    def _written(
        self,
        form: Form,
        uses: list[int],
        messages: Sequence[Message],
        render: Callable[[], Spanned],
    ) -> Spanned:
        made = form.write(messages)
        uses[0] += 1
        if not made.text.isascii() and ANY_MARK.search(made.text):
            return render()  # which refuses it
        if uses[0] & (uses[0] - 1) == 0 and made != render():
            raise RuntimeError("a chat template was not followed as it renders")
        return made

    def _learn(
        self, key: Key, messages: Sequence[Message], more: Mapping[str, Any], rendered: Spanned
    ) -> None:
        forms = self._forms.setdefault(key, [])
        if len(self._forms) > _SHAPES or len(forms) >= _FORMS:
            self._lost.add(key)
            return
        try:
            forms.append((self._form(messages, more, rendered), [0]))
        except Exception:  # whatever a template does that is not understood
            self._lost.add(key)

    @cached_property
    def _watching(self) -> Any:
        return watching(self._template.source)

    def _form(
        self, messages: Sequence[Message], more: Mapping[str, Any], rendered: Spanned
    ) -> Form:
        """Return the form that a conversation has, which was rendered before.

        Raises:
            Unfollowed: It cannot be told what the text would be with other contents.
        """
        asked: list[Asked] = []
        said = []
        for number, message in enumerate(messages):
            content = Watched.of(message.content, [Ref(number)], asked)
            numbered = Numbered(message.as_dict(), content=content)
            numbered.number = number
            said.append(numbered)
        marked = self._template.run(self._watching, said, (), False, **more)
        fixed, refs = _woven(marked)
        values = [ref.of(messages[ref.message].content) for ref in refs]
        asked += [Asked(r, "bool", "", bool(v)) for r, v in zip(refs, values, strict=True)]
        asked = [a for a in asked if a.ref.steps or a.method != "bool"]  # the key holds those
        text = "".join(p for pair in zip(fixed, values, strict=False) for p in pair) + fixed[-1]
        rest = rendered.text.removeprefix(text)
        if not rendered.text.startswith(text) or rest not in ("", self._template.end):
            raise Unfollowed("it writes something else when it is watched")
        fixed[-1] += rest
        cloth = _Cloth(fixed, values)
        self._check_headers(cloth, messages, "".join((marked,)))
        self._check_ends(cloth, rendered)
        edges = tuple(cloth.edge(p) for span in rendered.spans for p in span)
        return Form(tuple(fixed), tuple(refs), tuple(dict.fromkeys(asked)), edges, rendered.turns)

    def _check_headers(self, cloth: _Cloth, messages: Sequence[Message], marked: str) -> None:
        """Refuse where what follows a header would change where it is seen to end."""
        header = self._template.header
        if self._template.says or header[-1:].isalnum():
            return
        for number, begin, _ in read(marked).turns:
            if messages[number].role != "assistant":
                continue
            after = cloth.after(begin)
            if after != header and header.startswith(after):
                raise Unfollowed("an answer may go on as the header does")

    def _check_ends(self, cloth: _Cloth, rendered: Spanned) -> None:
        """Refuse where a content may be taken for the end of an answer."""
        end = self._template.end
        for _, place in rendered.spans if end else ():
            before, after = cloth.before(place), cloth.after(place)
            last = place == len(rendered.text)
            if not before.endswith(end) and not last and end.startswith(after):
                raise Unfollowed("a content may go on as the end does")


def _woven(marked: str) -> tuple[list[str], list[Ref]]:
    """Return the fixed texts without marks, and the contents between them."""
    fixed, refs = [""], list[Ref]()
    for part in marked.parts if isinstance(marked, Watched) else (marked,):
        if isinstance(part, Ref):
            refs.append(part)
            fixed.append("")
        else:
            fixed[-1] += part
    return [MARK.sub("", text) for text in fixed], refs


class _Cloth:
    """Fixed texts and contents, by the characters of the whole."""

    def __init__(self, fixed: Sequence[str], values: Sequence[str]) -> None:
        self._fixed = fixed
        self._begins = [0]
        for text, value in zip(fixed, values, strict=False):
            self._begins.append(self._begins[-1] + len(text) + len(value))

    def _at(self, place: int) -> tuple[int, int]:
        """Return (fixed text, character in it) of a character of the whole."""
        for number, (text, begin) in enumerate(zip(self._fixed, self._begins, strict=True)):
            if begin <= place <= begin + len(text):
                return number, place - begin
        raise Unfollowed("an answer begins or ends within a content")

    def edge(self, place: int) -> tuple[int, int]:
        """Return (contents before, fixed characters before) a character of the whole."""
        number, within = self._at(place)
        return number, sum(map(len, self._fixed[:number])) + within

    def before(self, place: int) -> str:
        """Return what stands before in the same fixed text."""
        number, within = self._at(place)
        return self._fixed[number][:within]

    def after(self, place: int) -> str:
        """Return what follows in the same fixed text."""
        number, within = self._at(place)
        return self._fixed[number][within:]
