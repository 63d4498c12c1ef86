"""What clients send: the bodies of OpenAI's two requests, checked, and the Sampling they mean.

Fields nobody knows are passed over, as OpenAI's own servers and clients of other servers expect.
Fields that OpenAI knows and we do not are refused by name: an answer without them would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, field_validator

from swift.chat.message import Message
from swift.engine import Sampling
from swift.serve.refusal import Refusal

MAX_CHOICES = 128
"""Answers to one prompt."""

MAX_ANSWERS = 1024
"""Answers to all the prompts of one request."""

MAX_LOGPROBS = 20
"""Likeliest tokens that are told beside a chosen one."""

_MAX_STOPS = 16
_SEEDS = 2**63 - MAX_CHOICES

Id: TypeAlias = Annotated[int, Field(ge=0, lt=2**31)]
Stop: TypeAlias = Annotated[str, Field(min_length=1)]
Prompt: TypeAlias = str | tuple[int, ...]
B = TypeVar("B", bound="Body")


class StreamOptions(BaseModel):
    """What a stream tells besides the answer."""

    model_config = ConfigDict(strict=True, frozen=True)

    include_usage: bool = False


class Body(BaseModel):
    """What both requests hold."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Field that we lack -> the values, besides null, with which it asks for nothing."""

    model: str | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=0.001, le=1000)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-_SEEDS, le=_SEEDS)
    stop: Annotated[tuple[Stop, ...] | None, Strict(False), Field(max_length=_MAX_STOPS)] = None
    stop_token_ids: tuple[Id, ...] | None = Field(default=None, max_length=1024)
    ignore_eos: bool | None = None
    min_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logit_bias: dict[Id, Annotated[float, Field(ge=-100, le=100)]] | None = None
    return_token_ids: bool | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, said: Any) -> Any:
        return [said] if isinstance(said, str) else said

    def check(self) -> None:
        """Refuse what we lack, and fields that do not go together.

        Raises:
            Refusal: 400, with the field's name.
        """
        others = self.model_extra or {}
        for name, harmless in self.unsupported.items():
            if others.get(name) is not None and others[name] not in harmless:
                raise _lacking(name)
        if self.stream_options is not None and not self.stream:
            raise Refusal(400, "`stream_options` goes with `stream: true`", param="stream_options")
        if self.return_token_ids and self.stream:
            raise _lacking("return_token_ids", " with `stream`")

    @property
    def usage_wanted(self) -> bool:
        """Whether the stream ends with the count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def told(self) -> int | None:
        """How many likeliest tokens are told beside each chosen one; None: no log-probabilities."""
        raise NotImplementedError

    @property
    def longest(self) -> int | None:
        """Most new tokens; None: as many as the context holds."""
        return self.max_tokens

    def sampling(self, defaults: Mapping[str, Any]) -> Sampling:
        """Return how tokens are chosen: as the request says, else as the model's `defaults`."""
        said = {name: getattr(self, name) for name in _ALIKE}
        said |= {"max_tokens": self.longest, "logprobs": self.told}
        given = {name: value for name, value in said.items() if value is not None}
        if given.get("top_k") == -1:  # how other servers spell "all"
            given["top_k"] = 0
        return Sampling.model_validate({**defaults, **given})


_ALIKE = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "seed", "stop", "stop_token_ids", "ignore_eos", "min_tokens"),
    "logit_bias",
)
"""Fields that a Sampling calls by the same name."""


class CompletionBody(Body):
    """POST /v1/completions."""

    unsupported = {"suffix": ("",)}

    prompt: Any
    max_tokens: int | None = Field(default=16, ge=1, lt=2**31)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    best_of: int | None = Field(default=None, ge=1, le=MAX_CHOICES)

    @property
    def told(self) -> int | None:
        """As OpenAI's older API spells it: a number."""
        return self.logprobs

    def prompts(self) -> list[Prompt]:
        """Return the prompts, each as text or as tokens.

        Raises:
            Refusal: It is none of the four shapes that OpenAI takes.
        """
        said = self.prompt
        many = isinstance(said, list) and bool(said) and isinstance(said[0], str | list)
        found = [_prompt(one) for one in (said if many else [said])]
        if len(found) * (self.n or 1) > MAX_ANSWERS:
            message = f"a request asks for at most {MAX_ANSWERS} answers, `prompt` times `n`"
            raise Refusal(400, message, param="prompt")
        return found

    def check(self) -> None:
        """As above."""
        super().check()
        if self.best_of is not None and self.best_of > (self.n or 1):
            raise _lacking("best_of", " above `n`")
        if self.echo and self.logprobs is not None:
            raise _lacking("echo", " with `logprobs`")


class Turn(BaseModel):
    """A message; what else it holds (tool_calls, name, …) is the template's."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    role: str = Field(min_length=1, max_length=64)
    content: Any = None


class TemplateOptions(BaseModel):
    """What the chat template may be told."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    enable_thinking: bool | None = None


class ChatBody(Body):
    """POST /v1/chat/completions."""

    unsupported = {
        "response_format": ({"type": "text"},),
        "functions": ([],),
        "function_call": ("auto", "none"),
        "modalities": (["text"],),
        "audio": (),
        "web_search_options": (),
    }

    messages: tuple[Turn, ...] = Field(min_length=1)
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    chat_template_kwargs: TemplateOptions | None = None

    @property
    def told(self) -> int | None:
        """As the chat API spells it: a switch and a number."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def longest(self) -> int | None:
        """By its new name or by its old one."""
        return self.max_completion_tokens or self.max_tokens

    def conversation(self) -> list[Message]:
        """Return the messages as the template takes them.

        Raises:
            Refusal: A message holds something that is not text.
        """
        return [_message(turn, f"messages[{i}]") for i, turn in enumerate(self.messages)]

    def offered(self) -> tuple[dict[str, Any], ...]:
        """Return the tools that the template is told of."""
        return () if self.tool_choice == "none" else self.tools or ()

    def template_options(self) -> dict[str, Any]:
        """Return what else the template is told."""
        options = self.chat_template_kwargs
        return options.model_dump(exclude_none=True) if options else {}

    def check(self) -> None:
        """As above."""
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise Refusal(400, "`top_logprobs` goes with `logprobs: true`", param="top_logprobs")
        if self.messages[-1].role == "assistant":
            message = "the last message is the assistant's: there is nothing to answer"
            raise Refusal(400, message, param="messages")


def read(cls: type[B], raw: bytes) -> B:
    """Return the body of a request.

    Raises:
        Refusal: 400; it is no JSON, or a field is wrong: `param` names the first one.
    """
    try:
        body = cls.model_validate_json(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        params = [_dotted(p["loc"]) for p in problems]
        said = [
            f"`{at}`: {p['msg']}" if at else p["msg"]
            for at, p in zip(params, problems, strict=True)
        ]
        raise Refusal(400, "; ".join(said[:8]), param=params[0]) from None
    body.check()
    return body


def _dotted(place: tuple[int | str, ...]) -> str:
    text = ""
    for part in place:
        if part == "[key]":  # pydantic's mark for the key of a map
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _prompt(said: Any) -> Prompt:
    if isinstance(said, str):
        return said
    if isinstance(said, list) and all(type(i) is int and 0 <= i < 2**31 for i in said):
        return tuple(said)
    message = "`prompt` is a text, a list of token ids, or a list of either"
    raise Refusal(400, message, param="prompt")


def _message(turn: Turn, place: str) -> Message:
    return Message(
        role=turn.role, content=_text(turn.content, f"{place}.content"), more=turn.model_extra or {}
    )


def _text(content: Any, place: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise Refusal(400, f"`{place}` is a text or a list of parts", param=place)
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            message = f"`{place}[{i}]` is no part of type text; this model takes nothing else"
            raise Refusal(400, message, param=f"{place}[{i}]")
    return "".join(part["text"] for part in content)


def _lacking(name: str, when: str = "") -> Refusal:
    message = f"`{name}`{when} is not supported here; leave it out"
    return Refusal(400, message, param=name, code="unsupported_parameter")
