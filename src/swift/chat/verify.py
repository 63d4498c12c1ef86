"""A template is tried before it is trusted: what is trained is what inference asks.

Each probe is a short conversation. For each that the template takes: the prompt's ids begin the
trained ids, what the assistant says is trained, and so is a token that ends its turn. A template
and a tokenizer that passed are remembered by their digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os.path import commonprefix
from pathlib import Path
from typing import Any

from swift import __version__
from swift.chat.asked import WAYS
from swift.chat.endless import Endless
from swift.chat.message import Message
from swift.chat.template import Spanned, Template
from swift.chat.tokenize import Tokenizer
from swift.core.errors import DataError, MachineError, Problem
from swift.core.files import write_text

_VERSION = 3
"""Raised when a check is added: what passed the old ones is tried anew."""

ANSWER = "Certainly 7."
"""What the assistant says last in every probe without a call."""

THOUGHT = "Let me see."
"""What it thinks before, where a probe has a thought."""

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string", "description": "Which."}},
            "required": ["word"],
        },
    },
}
OPTIONAL = ("thinking", "tools")
"""Probes that only some data ask for."""

NEEDED = ("one turn", "system", "turns")
"""Probes that every template must pass, or refuse."""

_CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "tree"}}}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A conversation to try."""

    name: str
    messages: Sequence[Message]
    """The last one is the answer."""

    tools: Sequence[Mapping[str, Any]] = ()

    needed: bool = False
    """Whether a template that refuses it is no use."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What trying a template brought."""

    taken: tuple[str, ...]
    """Names of the probes that it takes."""

    refused: Mapping[str, str]
    """Name of a probe that it refuses, as it may -> its words."""

    wrong: Mapping[str, str]
    """Name of a probe that failed -> what is wrong."""

    def says(self, name: str) -> str:
        """Return "ok", or why a probe did not pass, in one line."""
        if name in self.taken:
            return "ok"
        what = self.wrong.get(name) or self.refused.get(name, "not tried")
        return " ".join(what.split())

    def describe(self) -> str:
        """Return one line for people: "spans verified: ok; thinking: ok; tools: ok"."""
        spans = next((self.says(name) for name in NEEDED if name in self.wrong), "ok")
        return f"spans verified: {spans}; " + "; ".join(f"{n}: {self.says(n)}" for n in OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A template that may be trained with, and what trying it brought."""

    template: Template
    verdict: Verdict


def _say(role: str, content: str, **more: Any) -> Message:
    return Message(role=role, content=content, more=more)


_ASK, _TELL = _say("user", "What grows?"), _say("assistant", ANSWER)
PROBES = (
    Probe(name="one turn", messages=(_ASK, _TELL), needed=True),
    Probe(name="system", messages=(_say("system", "Be brief."), _ASK, _TELL)),
    Probe(
        name="turns",
        messages=(_ASK, _say("assistant", "A tree."), _say("user", "And?"), _TELL),
    ),
    Probe(
        name="thinking",
        messages=(_ASK, _say("assistant", ANSWER, reasoning_content=THOUGHT)),
    ),
    Probe(
        name="tools",
        messages=(
            _ASK,
            _say("assistant", "", tool_calls=[_CALL]),
            _say("tool", "tall", name="look_up"),
            _TELL,
        ),
        tools=(TOOL,),
    ),
)


def verify(template: Template, tokenizer: Tokenizer) -> Verdict:
    """Try a template with its tokenizer; nothing is raised for what is wrong with it."""
    taken: list[str] = []
    refused: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for probe in PROBES:
        try:
            spanned = template.spans(probe.messages, probe.tools)
        except Endless as error:
            wrong[probe.name if probe.needed else NEEDED[0]] = error.problems[0].what
            break
        except DataError as error:
            (wrong if probe.needed else refused)[probe.name] = error.problems[0].what
            continue
        if lack := _left_out(template, probe, spanned):
            refused[probe.name] = lack
        elif problem := _wrong(template, tokenizer, probe, spanned):
            wrong[probe.name] = problem
        else:
            taken.append(probe.name)
    return Verdict(taken=tuple(taken), refused=refused, wrong=wrong)


def tried(template: Template, folder: Path, cache: Path | None) -> Trial:
    """Return a template, with its `end` where it leaves that to the next turn, and its verdict.

    Args:
        template: As it was chosen.
        folder: Where the tokenizer is.
        cache: Remembers what has passed; None: nothing is remembered.

    Raises:
        DataError: Training with it is not what inference asks; every difference is named.
    """
    known = cache / "templates" / f"{_digest(template, folder)}.json" if cache else None
    if known is not None and (found := _remembered(known)) is not None:
        end, verdict = found
        return Trial(template=replace(template, end=end), verdict=verdict)
    tokenizer = Tokenizer.load(folder)
    template = replace(template, end=end_left_out(template, tokenizer))
    verdict = verify(template, tokenizer)
    if problems := _problems(verdict, folder):
        raise DataError(problems)
    if known is not None:
        with suppress(MachineError, OSError):  # it only saves time
            known.parent.mkdir(parents=True, exist_ok=True)
            write_text(known, json.dumps({"end": template.end, **vars(verdict)}))
    return Trial(template=template, verdict=verdict)


def _digest(template: Template, folder: Path) -> str:
    """Return what a verdict depends on, as one word: our checks, the template, the tokenizer."""
    digest = hashlib.sha256(f"{_VERSION} {__version__} {template.fingerprint} ".encode())
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        path = folder / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:32]


def _remembered(path: Path) -> tuple[str, Verdict] | None:
    """Return the end and the verdict that a file holds; None where it is not there, or spoilt."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        said = json.loads(path.read_text(encoding="utf-8"))
        texts = (said["end"], *said["taken"], *said["refused"].items(), *said["wrong"].items())
        if all(isinstance(text, str | tuple) for text in texts) and "one turn" in said["taken"]:
            taken = tuple(said["taken"])
            return said["end"], Verdict(taken=taken, refused=said["refused"], wrong=said["wrong"])
    return None


def _problems(verdict: Verdict, folder: Path) -> list[Problem]:
    """Return each thing that is wrong once, with the needed probes that show it."""
    shown: dict[str, list[str]] = {}
    for name, what in verdict.wrong.items():
        if name in NEEDED:
            shown.setdefault(what, []).append(name)
    return [
        Problem(
            where="model.template",
            what=f"the chat template of {folder} fails ({', '.join(names)}): {what}",
            fix="model.template: chatml, another wire, or the path of a Jinja file",
        )
        for what, names in shown.items()
    ]


def end_token(template: Template, tokenizer: Tokenizer) -> int | None:
    """Return the token that ends an answer in this template; None where none does."""
    try:
        spanned = template.spans((_ASK, _TELL))
    except Endless:
        raise
    except DataError:
        return None
    return _end_in(_tail(spanned), tokenizer)


def end_left_out(template: Template, tokenizer: Tokenizer) -> str:
    """Return the token that ends an answer and that the template leaves to the next turn; or ""."""
    try:
        spanned = template.spans((_ASK, _TELL, _ASK))
    except DataError:
        return ""
    if not spanned.spans or _end_in(_tail(spanned), tokenizer) is not None:
        return ""
    follows = spanned.text[spanned.spans[-1][1] :]
    stops = filter(None, (tokenizer.backend.id_to_token(id) for id in tokenizer.stop_ids))
    return next((stop for stop in stops if follows.startswith(stop)), "")


def _wrong(template: Template, tokenizer: Tokenizer, probe: Probe, spanned: Spanned) -> str:
    """Return what is wrong with a probe, "" where nothing is."""
    ((ids, marks),) = tokenizer.encode_spanned([spanned])
    if not any(marks[1:]):
        return "no token of the answer is trained"
    if ANSWER not in (said := _said(spanned)):
        return f"the answer is not trained, {said[-40:]!r} is"
    if _end_in(_tail(spanned), tokenizer) is None:
        return f"no token ends the answer: after it {_tail(spanned)!r} is trained"
    prompts = _prompts(template, probe)
    if not prompts:
        return "the template refuses the prompt"
    if any(ids[: len(p)] == p for p in map(tokenizer.encode, prompts)):
        return ""
    same = len(commonprefix([prompts[0], spanned.text]))  # noqa: RUF071 - characters are meant
    asked, trained = (t[same : same + 40] for t in (prompts[0], spanned.text))
    return f"the prompt of inference goes on with {asked!r} where {trained!r} is trained"


def _prompts(template: Template, probe: Probe) -> list[str]:
    """Return what inference asks: as it is by default, without thinking, and with it."""
    found = []
    for options in WAYS:
        with suppress(DataError):
            asked = probe.messages[:-1]
            found.append(template.render(asked, probe.tools, generation_prompt=True, **options))
    return found


def _left_out(template: Template, probe: Probe, spanned: Spanned) -> str:
    """Return which part of a probe the template passes over in silence; "" for none."""
    if probe.tools and TOOL["function"]["name"] not in _before(template, probe):
        return "the template does not write tools"
    if probe.name == "thinking" and THOUGHT not in spanned.text:
        return "the template does not write reasoning"
    return ""


def _before(template: Template, probe: Probe) -> str:
    with suppress(DataError):
        return template.render(probe.messages[:1], probe.tools, generation_prompt=True)
    return ""


def _said(spanned: Spanned) -> str:
    """Return all that is trained; a turn may be trained in several parts."""
    return "".join(spanned.text[begin:end] for begin, end in spanned.spans)


def _tail(spanned: Spanned) -> str:
    """Return what is trained after the last answer."""
    return _said(spanned).rpartition(ANSWER)[2]


def _end_in(tail: str, tokenizer: Tokenizer) -> int | None:
    """Return the first token of a tail that is a token of its own, or ends a text; None: none."""
    added = tokenizer.backend.get_added_tokens_decoder()
    own = {*added, *tokenizer.stop_ids}
    return next((id for id in tokenizer.encode(tail) if id in own), None)
