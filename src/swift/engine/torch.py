"""The torch engine: the model's own code, requests side by side, key/value cache in blocks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from swift.engine import Engine, EngineOptions, Served, engines


@engines.add("torch")
class Torch(EngineOptions):
    """Runs any causal transformers model with standard attention; needs nothing installed."""

    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """Number format of weights and computation. auto: bfloat16 on a GPU, float32 on a CPU."""

    adapter: Literal["merged", "applied"] = "merged"
    """merged: an adapter is added into the weights when the model is opened, which is fastest.
    applied: it is computed beside them."""

    max_batch: int = Field(default=64, ge=1)
    """Most answers that are generated at the same time; others wait."""

    max_step_tokens: int = Field(default=512, ge=1)
    """Most tokens of prompts read in one step: longer prompts are read in parts, so that answers
    under way go on."""

    block_size: int = Field(default=16, ge=1)
    """Tokens of one block of the key/value cache."""

    cache_gb: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Memory for the key/value cache in GB. auto: 80 % of what is free on a GPU, at most 2 GB on
    a CPU, never more than max_batch answers of full length."""

    context: Annotated[int, Field(ge=1)] | None = None
    """Longest prompt with its answer, in tokens. null: the model's own."""

    def open(self, served: Served) -> Engine:
        """Return the model, ready to answer.

        Raises:
            PlanError: The model has no standard attention, or its files are broken.
            MachineError: The cache would not hold one answer.
        """
        from swift.core.env import without_advice_of_bitsandbytes
        from swift.engine._torch import TorchEngine

        without_advice_of_bitsandbytes()
        return TorchEngine(served, self)
