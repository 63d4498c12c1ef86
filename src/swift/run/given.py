"""Live objects that a Python caller brings along; the command line brings none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from swift.model.facts import ModelFacts
    from swift.reward import Reward


@dataclass(frozen=True, kw_only=True)
class Given:
    """What stands in for the plan's files. A run with any of it stays in this process."""

    models: Mapping[str, nn.Module] = field(default_factory=dict)
    """By role: "policy", "reference". A PeftModel is trained as it is, without a second tuner."""

    rows: Iterable[Mapping[str, Any]] | None = None
    """Instead of the recipe's `dataset`."""

    validation: Iterable[Mapping[str, Any]] | None = None
    """Instead of `data.validation`."""

    rewards: tuple[Reward, ...] = ()
    """The functions among the plan's rewards, in its order."""

    facts: ModelFacts | None = None
    """What is true of the live policy, where its folder does not say it all."""

    @property
    def any(self) -> bool:
        """Whether there is anything live: then the run stays in this process."""
        rows = self.rows is not None or self.validation is not None
        return rows or bool(self.models) or bool(self.rewards)


NOTHING = Given()
