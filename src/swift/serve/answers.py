"""What clients get: the bodies of OpenAI's answers, whole and in chunks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from swift import __version__
from swift.engine import Delta, TokenLogprob
from swift.serve.calls import Calls, Said
from swift.serve.tokens import Tokens

FINGERPRINT = f"swift-{__version__}"

_LOWEST = -9999.0
"""OpenAI's spelling of minus infinity, which JSON has no number for."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How one of the two APIs spells answers."""

    model: str
    tokens: Tokens
    chat: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    calls: Callable[[], Calls] | None = None
    """Makes the reader of an answer's calls; None: answers are text, whatever they hold."""

    prompts: Sequence[Sequence[int]] = ()
    """The prompt's tokens of each choice, where ids are told; none: they are not."""

    _reading: dict[int, Calls] = field(default_factory=dict)
    """Readers of the choices under way."""

    def whole(self, choices: Sequence[Delta], heads: Sequence[str], usage: Any) -> bytes:
        """Return the body that holds all choices; `heads` is what stands before each (echo)."""
        made = [
            self._choice(i, head + delta.text, delta) | self._ids(i, delta)
            for i, (delta, head) in enumerate(zip(choices, heads, strict=True))
        ]
        return dump({**self._envelope(piece=False), "choices": made, "usage": usage})

    def first(self, index: int, head: str) -> bytes:
        """Return the chunk that opens a choice, b"" where there is nothing to say yet."""
        if self.chat:
            return self._chunk(index, {"delta": {"role": "assistant", "content": ""}})
        return self._chunk(index, {"text": head}) if head else b""

    def next(self, index: int, delta: Delta, offset: int) -> bytes:
        """Return the chunks of what is new of a choice.

        Args:
            index: The choice.
            delta: What is new of it.
            offset: How many characters its tokens have had up to here.
        """
        out = b""
        logprobs = self._logprobs(delta.logprobs, offset)
        new = self._read(index, delta.text, delta.finish)
        if new.thought:
            out = self._chunk(index, {"delta": {"reasoning_content": new.thought}})
        if new.text or delta.logprobs:
            said = {"delta": {"content": new.text}} if self.chat else {"text": new.text}
            out += self._chunk(index, said | ({"logprobs": logprobs} if logprobs else {}))
        if new.calls:
            out += self._chunk(index, {"delta": {"tool_calls": new.calls}})
        if new.refusal:
            out += self._chunk(index, {"delta": {"refusal": new.refusal}})
        if new.finish is not None:
            out += self._chunk(index, {"delta": {}} if self.chat else {"text": ""}, new.finish)
        return out

    def usage(self, usage: Any) -> bytes:
        """Return the chunk that tells the usage, after all choices."""
        return event({**self._envelope(piece=True), "choices": [], "usage": usage})

    def _envelope(self, *, piece: bool) -> dict[str, Any]:
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            "id": ("chatcmpl-" if self.chat else "cmpl-") + self.id,
            "object": kind + ".chunk" if piece and self.chat else kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }

    def _choice(self, index: int, text: str, delta: Delta) -> dict[str, Any]:
        new = self._read(index, text, delta.finish)
        said: dict[str, Any] = {"text": new.text}
        if self.chat:
            said = {"message": _message(new)}
        logprobs = self._logprobs(delta.logprobs, 0)
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": new.finish}

    def _ids(self, index: int, delta: Delta) -> dict[str, Any]:
        """Return the ids that were read and said, and the version of the weights."""
        if not self.prompts:
            return {}
        ids = {"prompt_token_ids": self.prompts[index], "token_ids": delta.ids}
        return {**ids, "weights_version": delta.version}

    def _read(self, index: int, text: str, finish: str | None) -> Said:
        """Return what a choice says anew: text, thoughts, calls, and why it ends."""
        if self.calls is None:
            return Said(text=text, finish=finish)
        reading = self._reading.get(index) or self._reading.setdefault(index, self.calls())
        return reading.read(text, finish)

    def _chunk(self, index: int, said: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, **said, "finish_reason": finish}
        choice.setdefault("logprobs", None)
        return event({**self._envelope(piece=True), "choices": [choice]})

    def _logprobs(self, told: Sequence[TokenLogprob], offset: int) -> Any:
        if not told:
            return None
        return self._chat_logprobs(told) if self.chat else self._text_logprobs(told, offset)

    def _chat_logprobs(self, told: Sequence[TokenLogprob]) -> dict[str, Any]:
        content = [
            {
                **self._named(one.id, one.logprob),
                "top_logprobs": [self._named(id, logprob) for id, logprob in one.top],
            }
            for one in told
        ]
        return {"content": content, "refusal": None}

    def _named(self, id: int, logprob: float) -> dict[str, Any]:
        raw = self.tokens.raw(id)
        text = raw.decode("utf-8", errors="replace")
        return {"token": text, "logprob": max(logprob, _LOWEST), "bytes": list(raw)}

    def _text_logprobs(self, told: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
        offsets = []
        for one in told:
            offsets.append(offset)
            offset += self.tokens.width(one.id)
        label = self.tokens.label
        return {
            "tokens": [label(one.id) for one in told],
            "token_logprobs": [max(one.logprob, _LOWEST) for one in told],
            "top_logprobs": [
                {label(id): max(logprob, _LOWEST) for id, logprob in one.top} for one in told
            ],
            "text_offset": offsets,
        }


def _message(said: Said) -> dict[str, Any]:
    """Return a whole answer as OpenAI's message."""
    empty = said.calls or said.refusal
    message: dict[str, Any] = {"role": "assistant", "content": said.text or (None if empty else "")}
    message["refusal"] = said.refusal or None
    if said.thought:
        message["reasoning_content"] = said.thought
    if said.calls:  # their places are told in streams only
        message["tool_calls"] = [
            {k: v for k, v in call.items() if k != "index"} for call in said.calls
        ]
    return message


def usage(prompt: int, answers: int) -> dict[str, int]:
    """Return the count of tokens: those of the prompts once, those of all answers."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answers,
        "total_tokens": prompt + answers,
    }


def dump(body: Any) -> bytes:
    """Return JSON without escapes of letters."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def event(body: Any) -> bytes:
    """Return a server-sent event."""
    return b"data: " + dump(body) + b"\n\n"


DONE = b"data: [DONE]\n\n"
"""The end of a stream."""
