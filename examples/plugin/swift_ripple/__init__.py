"""A plug-in of swift: a model structure, a wire, a data set, a score, a tuner, a preset, a verb.

Importing it registers everything; `modeling.py`, which needs torch, is imported only when such a
model is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swift.plugin import (
    Listed,
    Preset,
    Problem,
    Row,
    Score,
    Structure,
    UserError,
    Wire,
    datasets,
    families,
    models,
    presets,
    scores,
    verb,
    wires,
)

from . import norms as norms

families.add(
    Structure(
        structure="ripple",
        family="ripple",
        architectures=("RippleForCausalLM",),
        config=f"{__name__}.modeling:RippleConfig",
        model=f"{__name__}.modeling:RippleForCausalLM",
        note="sines in place of a gate; an example",
    )
)
models.add(Row(huggingface="swift-examples/ripple-tiny", family="ripple", structure="ripple"))
wires.add(
    Wire(
        name="ripple",
        types="ripple",
        system="<<{system}>>\n",
        user="? {user}\n",
        assistant="! ",
        end="‹eos›",
        inner="‹eos›\n",
    )
)
_LORA = {"tuner": {"name": "lora", "targets": ("rise", "swell", "fold")}}
presets.add(Preset(key="tuner", preset="ripple-lora", sets=_LORA))
datasets.add(
    Listed(
        name="ripple-sums",
        source=f"generated:{__name__}:sums",
        about="Sums of two numbers below 10, in words of digits",
    )
)


def sums(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a hundred sums; the seed only shifts them."""
    for number in range(100):
        a, b = divmod((number + seed) % 100, 10)
        yield {"query": f"{a} + {b}", "response": str(a + b)}


@scores.add("same_length")
class SameLength(Score):
    """1 where the answer is as long as the truth, else 0."""

    def judge(self, answer: str, truth: str) -> float:
        """Return 1.0 or 0.0."""
        return float(len(answer.strip()) == len(truth.strip()))


@verb("ripple-init", "Write a small random Ripple model into a folder")
def init(name: str, words: list[str]) -> int:
    """Write the model that recipe.yaml trains."""
    from .tiny import write

    if len(words) != 1:
        raise UserError(Problem(what=f"`swift {name}` takes one folder", fix=f"swift {name} tiny"))
    write(Path(words[0]))
    return 0
