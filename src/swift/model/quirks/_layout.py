"""What a file of this folder says of a layout: how it becomes one that transformers has itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from swift.core.errors import PlanError, Problem
from swift.model.quirks._stored import Stored


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Tokenizer, chat template and ends of answers, as files of a model folder."""

    tokenizer: Mapping[str, Any] | bytes
    """What tokenizer.json holds: made, or the folder's own file."""

    config: Mapping[str, Any]
    """tokenizer_config.json."""

    generation: Mapping[str, Any]
    """generation_config.json."""

    ids: Mapping[str, Any]
    """What config.json says of tokens: eos_token_id, ..."""

    template: str = ""
    """The chat template in Jinja; "" where there is none."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A layout that only code of its own opens, in the words of one that transformers opens."""

    called: str
    """The models' name: InternLM."""

    version: int = 1
    """Raised when the same folder would be written otherwise than before."""

    config: Mapping[str, Any]
    """config.json of the native model, without its type and the ids of tokens."""

    weights: Callable[[Stored], Sequence[Stored]]
    """The native weights that a stored one holds: none of what is computed, an unknown as it is."""

    speech: Callable[[Path], Speech]
    """Reads the folder's tokenizer."""

    notes: Sequence[str] = field(default=())
    """What the user must know: where training is not what the original's would be."""


def checked(
    config: Mapping[str, Any],
    defaults: Mapping[str, Any],
    folder: Path,
    impossible: Callable[[Mapping[str, Any]], Iterable[tuple[bool, str]]],
) -> dict[str, Any]:
    """Return `config` with the published defaults filled in.

    Args:
        config: The content of config.json.
        defaults: What the published configuration class says where it is silent; numbers must be
            above 0, or be this one.
        folder: Its folder, for the errors.
        impossible: Pairs of (is it so, what is so): why the native model cannot compute it.

    Raises:
        PlanError: A number is none, the weights are quantised, or it is impossible.
    """
    filled = {**defaults, **{key: said for key, said in config.items() if said is not None}}
    what = [
        f"`{key}` is `{filled[key]}`, not a number above 0"
        for key, usual in defaults.items()
        if isinstance(usual, int | float) and not isinstance(usual, bool)
        if not _sound(filled[key], usual)
    ]
    if "quantization_config" in config or filled.get("quantization_bit"):
        what.append("its weights are quantised")
    what = what or [text for wrong, text in impossible(filled) if wrong]
    if what:
        where = str(folder / "config.json")
        fix = "give one of the family with plain weights; its own code wants --trust_remote_code"
        raise PlanError([Problem(where=where, what=text, fix=fix) for text in what])
    return filled


def _sound(said: Any, usual: float) -> bool:
    """Return whether a number of the configuration is one of the usual kind."""
    kinds = (int, float) if isinstance(usual, float) else (int,)
    return type(said) in kinds and (said > 0 or said == usual)


COMPUTED = re.compile(r"(.*\.)?(inv_freq|masked_bias|attn\.bias|logn_tensor|cos_cached|sin_cached)")
"""Names that early folders hold and that follow from the configuration."""


Part: TypeAlias = str | Callable[[Stored, str], Sequence[Stored]]
"""A native name, or a function of the weight and the start of native names (`model.layers.3.`)."""


def renamed(
    weight: Stored, top: Mapping[str, str], layers: str, parts: Mapping[str, Part]
) -> list[Stored]:
    r"""Return the native weights that a stored one holds; one of an unknown name as it is.

    Args:
        weight: As the files have it.
        top: Names outside the layers, theirs -> native.
        layers: Regular expression of what comes before a layer's part, its number as a group:
            `transformer\.h\.(\d+)\.`.
        parts: A layer's part without `.weight` or `.bias` -> what it becomes.
    """
    if COMPUTED.fullmatch(weight.name):
        return []
    if weight.name in top:
        return [replace(weight, name=top[weight.name])]
    match = re.fullmatch(rf"{layers}(.+)\.(weight|bias)", weight.name)
    part = parts.get(match[2]) if match else None
    if match is None or part is None:
        return [weight]
    at = f"model.layers.{match[1]}."
    if isinstance(part, str):
        return [replace(weight, name=f"{at}{part}.{match[3]}")]
    return list(part(weight, at))


def in_parts(
    names: Sequence[str], sizes: Sequence[int]
) -> Callable[[Stored, str], Sequence[Stored]]:
    """Return what cuts a fused weight into parts of so many rows, one after the other."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]

    def cut(weight: Stored, at: str) -> Sequence[Stored]:
        if not weight.shape or weight.shape[0] != ends[-1]:
            return [weight]  # of another shape than its configuration says: found unknown later
        kind = weight.name.rpartition(".")[2]
        begins = [0, *ends]
        return [
            weight.rows(f"{at}{name}.{kind}", (begins[i], ends[i])) for i, name in enumerate(names)
        ]

    return cut


QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
