"""Which modules of a model play which role, found by its structure: a model on meta will do.

No module is known by its place or name. The language model is what holds the token embedding and a
stack of blocks; a tower takes pixels or sound and no tokens; the head gives a number for each word;
what is left lies between and aligns. Inside a block, what mixes positions is attention; of the
rest, two matrices of which one leads back to where the other began are a multilayer perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Paths of modules by role; a role that the model has not is empty.

    Each parameter is inside one path of the first six roles, or in two: an `aligner` may be the end
    of its tower, and a tied head is the token embedding.
    """

    vision: tuple[str, ...] = ()
    """Towers that take (or draw) pixels."""

    audio: tuple[str, ...] = ()
    """Towers that take (or give) sound."""

    aligner: tuple[str, ...] = ()
    """What maps a tower's output into the language model, lone parameters included."""

    language: tuple[str, ...] = ()
    head: tuple[str, ...] = ()

    other: tuple[str, ...] = ()
    """Further models with tokens and a head of their own: what speaks."""

    attention: tuple[str, ...] = ()
    """Matrices in blocks that mix positions; linear attention and state spaces too."""

    mlp: tuple[str, ...] = ()
    """Matrices of the perceptrons in blocks; modules of packed experts."""


def find_roles(model: nn.Module) -> Roles:
    """Return the roles of a transformers model's modules; its parameters may lie on meta."""
    from swift.model._sketch import Sketch

    sketch = Sketch(model)
    towers = dict(sketch.towers())
    head = sketch.head()
    language = sketch.language(towers, head)
    rest = tuple(sketch.rest("", {*towers, *head, *language}))
    language += tuple(path for path in rest if sketch.reads(path))
    rest = tuple(path for path in rest if path not in language)
    other = tuple(path for path in rest if sketch.speaks(path))
    between = tuple(path for path in rest if path not in other)
    ends = tuple(end for tower in towers for end in sketch.ends(tower, alone=not between))
    attention, mlp = sketch.projections()
    return Roles(
        vision=tuple(path for path, sense in towers.items() if sense == "vision"),
        audio=tuple(path for path, sense in towers.items() if sense == "audio"),
        aligner=between + ends,
        language=language,
        head=head,
        other=other,
        attention=attention,
        mlp=mlp,
    )
