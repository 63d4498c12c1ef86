"""Engines: what generates. An engine gets a plain value, Served, and answers requests in deltas.

It knows nothing of training. Requests of any lengths, seeds and samplings run side by side.
Add one: a file here with a frozen class under `@engines.add("name")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Protocol

from pydantic import Field

from swift.core.registry import Registry
from swift.core.schema import Component, Value

if TYPE_CHECKING:
    from torch import Tensor

    from swift.chat.speaker import Speaker


class Served(Value):
    """A model that can be opened: all an engine needs to know."""

    id: str
    """What people call it; the name in the served API."""

    folder: Path
    """Configuration and weights, in transformers' layout."""

    adapter: Path | None = None
    """A PEFT adapter on top of the weights."""

    speech: Path
    """Tokenizer and chat template."""

    template: str = "auto"
    """How conversations are written, and so what ends an answer: auto (as `speech` says), a wire,
    or the path of a Jinja file."""

    trust: bool = False
    """Whether code in `folder` may run, where nothing else computes the model."""

    device_map: str = "auto"
    """Where its parts lie: see the recipe's `model.device_map`."""

    scores: bool = False
    """Whether it is a reward model, which no engine speaks with."""

    context: int = 0
    """Longest prompt with its answer, in tokens; 0 when the configuration is silent."""


class Sampling(Value):
    """How the next token is chosen, and when an answer ends."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most new tokens. null: as many as the context holds."""

    temperature: float = Field(default=1.0, ge=0, le=100)
    """Divides the logits. 0: always the most likely token (greedy)."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Smallest set of likely tokens with at least this share of probability; others are out."""

    top_k: int = Field(default=0, ge=0)
    """How many of the most likely tokens are left in. 0: all."""

    min_p: float = Field(default=0.0, ge=0, le=1)
    """Tokens below this share of the likeliest one's probability are out."""

    repetition_penalty: float = Field(default=1.0, ge=0.001, le=1000)
    """Divides positive and multiplies negative logits of tokens met before, prompt and answer
    (Keskar et al., 2019, arXiv:1909.05858)."""

    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off the logit of every token that the answer holds already."""

    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off a token's logit once for each time the answer holds it."""

    seed: int | None = None
    """Same seed, same prompt: same answer, whoever else is served. null: drawn anew."""

    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""

    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer, besides the model's own."""

    ignore_eos: bool = False
    """Whether the model's own end of an answer is passed over."""

    min_tokens: int = Field(default=0, ge=0)
    """New tokens before the answer may end."""

    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    """How many likeliest tokens are told with each chosen one's log-probability; null: none."""

    logit_bias: Mapping[int, float] = Field(default_factory=dict)
    """Added to the logits of these tokens."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One answer that is wanted."""

    ids: Sequence[int]
    """The prompt's tokens, at least one."""

    sampling: Sampling = field(default_factory=Sampling)

    stream: bool = False
    """Whether text is wanted as it comes; else there is one Delta, the last."""


class TokenLogprob(NamedTuple):
    """What the model thought of a token, before temperature and filters."""

    id: int
    logprob: float
    """Natural logarithm."""

    top: tuple[tuple[int, float], ...]
    """(id, log-probability) of the likeliest tokens, best first."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What is new of an answer."""

    text: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()

    finish: str | None = None
    """None: more comes. "stop": ended by itself or by a stop text. "length": max_tokens or the
    context is full. "cancelled". "error": see `error`."""

    error: str = ""
    """What went wrong on our side, in words."""

    version: int = 0
    """Of the last delta: the `Fresh.version` of the weights that said it."""


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """Values that take the place of an opened model's: the same model, trained on."""

    version: int
    """Optimiser steps that they have seen."""

    adapter: Path | None = None
    """Folder of a PEFT adapter on the weights in `Served.folder`, in place of the one before."""

    weights: Iterable[tuple[str, Tensor]] = ()
    """Whole weights by their names in the model's files; those that are not named stay."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How busy an engine is."""

    running: int
    waiting: int
    blocks: int
    """Blocks of the key/value cache in use."""

    blocks_total: int

    steps: int | None = None
    """Steps done since it was opened: while somebody is answered, they go on. None: not told."""


class Engine(Protocol):
    """An opened model. Every method may be called from any thread."""

    served: Served
    speaker: Speaker
    """Messages and text to tokens, as in training."""

    def submit(self, request: Request, deliver: Callable[[Delta], None]) -> Callable[[], None]:
        """Queue a request; `deliver` gets its deltas on the engine's thread, the last has `finish`.

        Returns:
            What cancels it; its slot and blocks are free at the next step. Harmless when it ended.

        Raises:
            UserError: The prompt is empty, has an unknown token, or leaves no room for an answer.
        """

    def begin(
        self, requests: Sequence[Request], deliver: Callable[[int, Delta], None]
    ) -> Callable[[], None]:
        """Queue requests that begin together, all or none; `deliver` is told whose a delta is.

        Returns:
            What cancels them, as `submit`'s.

        Raises:
            UserError: As `submit`.
        """

    def generate(self, requests: Sequence[Request]) -> list[Delta]:
        """Return the whole answer of each request, in order; returns when all are done."""

    def sync(self, fresh: Fresh) -> None:
        """Exchange values of weights; returns when requests from now on are answered by them.

        Answers under way end first, by the old ones. `fresh.adapter` may go once it returns.

        Raises:
            PlanError: They do not fit the model.
            MachineError: The engine is elsewhere, and cannot be reached.
        """

    def load(self) -> Load:
        """Return how busy it is."""

    def close(self, drain: bool = False) -> None:
        """End: with `drain` what was submitted is answered first, else it is cancelled."""


class EngineOptions(Component):
    """Options of an engine."""

    remote: ClassVar[bool] = False
    """Whether the model is elsewhere: one engine answers for all ranks."""

    def open(self, served: Served) -> Engine:
        """Return the model, ready to answer.

        Raises:
            PlanError: The engine cannot run this model.
        """
        raise NotImplementedError


engines: Registry[EngineOptions] = Registry(
    "engine", "swift.engine", later=("vllm", "sglang", "lmdeploy")
)
