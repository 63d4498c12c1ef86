"""Methods that compare the policy with a model that stays as it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.method import Method


class Compared(Method):
    """A method with a reference, which is a model and not trained."""

    reference: str = Field(default="auto", min_length=1)
    """Whose log-probabilities are the reference: `adapters_off`, the policy with its adapters
    switched off; `model`, a second, frozen copy of the base model; or the name of another model.
    auto: adapters_off when the tuner has adapters, else model."""


class Referred(Compared):
    """One that asks its reference of the same rows again and again."""

    reference_once: Literal["auto"] | bool = "auto"
    """Whether the reference answers once, before the first step: what it says is kept on disk for
    later runs of the same rows, and its weights leave the memory. false: in every step. auto: once
    where every row is trained on at least once, and rows are not streamed."""
