"""The model's own chat template: text for the model, and what the assistant must say in it."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from swift.chat.message import Message
from swift.core.errors import DataError, Problem


class Spanned(NamedTuple):
    """A rendered conversation."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """Begin and end of each stretch of characters that the assistant says, end of turn included."""


@dataclass(frozen=True)
class Template:
    """A Jinja chat template in an immutable sandbox, with the model's special tokens."""

    source: str
    tokens: Mapping[str, str]
    """bos_token, eos_token, ...: what the template may name."""

    @property
    def fingerprint(self) -> str:
        """Return a digest of the template and its tokens."""
        text = json.dumps([self.source, dict(self.tokens)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _compiled(self) -> Any:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        world = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        world.filters["tojson"] = _tojson
        world.globals["raise_exception"] = _raise
        world.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        return world.from_string(self.source)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        generation_prompt: bool = False,
        **more: Any,
    ) -> str:
        """Return the conversation as the model's text.

        Raises:
            DataError: The template refuses the conversation.
        """
        from jinja2 import TemplateError

        try:
            text: str = self._compiled.render(
                messages=[m.as_dict() for m in messages],
                tools=list(tools) or None,
                add_generation_prompt=generation_prompt,
                **self.tokens,
                **more,
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise DataError(Problem(what=f"the chat template refuses it: {error}")) from error
        return text

    def spans(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> Spanned:
        """Return the text, and where the assistant speaks in it.

        Raises:
            DataError: The template refuses, or a turn cannot be found.
        """
        text = self.render(messages, tools)
        found = [
            self._span(text, messages, i, tools)
            for i, m in enumerate(messages)
            if m.role == "assistant"
        ]
        return Spanned(text, tuple(found))

    def _span(
        self,
        text: str,
        messages: Sequence[Message],
        turn: int,
        tools: Sequence[Mapping[str, Any]],
    ) -> tuple[int, int]:
        before = self.render(messages[:turn], tools, generation_prompt=True)
        after = self.render(messages[: turn + 1], tools)
        if not text.startswith(before) or not text.startswith(after.rstrip()):
            raise DataError(Problem(what=f"turn {turn + 1} of the assistant cannot be found"))
        return len(before), len(after.rstrip())


def load(folder: Path, file: Path | None = None) -> Template:
    """Return the chat template of a model folder, or of `file` with the folder's tokens.

    Raises:
        DataError: There is none.
    """
    config = _json(folder / "tokenizer_config.json")
    named = {k: v for k, v in config.items() if k.endswith("_token") and v}
    tokens = {k: v["content"] if isinstance(v, dict) else v for k, v in named.items()}
    path = file or folder / "chat_template.jinja"
    if path.is_file():
        return Template(path.read_text(encoding="utf-8"), tokens)
    source = config.get("chat_template")
    if isinstance(source, list):
        source = next((t["template"] for t in source if t.get("name") == "default"), None)
    if not source:
        raise DataError(
            Problem(
                where="model.template",
                what=f"{folder} has no chat template",
                fix="template: path of a Jinja file, or task: text",
            )
        )
    return Template(source, tokens)


def with_tokens(template: Template, tokens: Mapping[str, str]) -> Template:
    """Return `template` with other special tokens."""
    return replace(template, tokens=tokens)


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)
