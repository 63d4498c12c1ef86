"""LoRA (Hu et al., 2021, arXiv:2106.09685): a low-rank update next to frozen weights."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from swift.tuner import Tuner, tuners

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Generator, Tensor, nn


@tuners.add("lora")
class Lora(Tuner):
    """W stays frozen; y = W x + (alpha / rank) B A x is trained. PEFT's modules and layout.

    Shapes: x [..., in], A [rank, in], B [out, rank]. B starts at zero, so step 0 equals the base.
    Adds rank * (in + out) weights per layer.
    """

    adapters: ClassVar[bool] = True

    rank: int = Field(default=8, ge=1)
    """Width of the update. 8 to 64 is usual; memory grows linearly with it."""

    alpha: float = Field(default=32.0, gt=0)
    """Scale of the update, applied as alpha / rank (a pure number)."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of x's entries dropped before A, in [0, 1)."""

    targets: str | tuple[str, ...] = "all-linear"
    """Layers to adapt: all-linear (all but the output head), or ends of names: [q_proj, v_proj]."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Return `model` wrapped by PEFT; only A and B require grad.

        Raises:
            PlanError: `targets` fits no layer of this model.
        """
        from swift.tuner._lora import attach

        return attach(model, self)

    def initial(self, name: str, like: Tensor, random: Generator) -> Tensor | None:
        """A: uniform as torch's Linear (Kaiming, a = sqrt 5); B: zero."""
        from swift.tuner._lora import initial

        return initial(name, like, random)

    def canonical(self, name: str) -> str:
        """Adapter weights as PEFT's files name them, base weights as the base's files do."""
        from swift.tuner._lora import canonical

        return canonical(name)

    def off(self, model: nn.Module) -> AbstractContextManager[None]:
        """Switch the adapters off within a block."""
        from swift.tuner._lora import off

        return off(model)

    def save(
        self, weights: Iterable[tuple[str, Tensor]], model: nn.Module, folder: Path, base: str
    ) -> None:
        """Write `adapter_model.safetensors` and `adapter_config.json`."""
        from swift.tuner._lora import save

        save(weights, model, folder, base)
