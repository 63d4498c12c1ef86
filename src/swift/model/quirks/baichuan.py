"""Baichuan-7B and Baichuan2-7B: Llama with q, k and v in one weight.

The 13B models add a slope to attention in place of rotary positions (ALiBi), which no native
architecture with these layers does: they stay with their own code. Baichuan2 divides each row of
its head by its length before it is used: the rewritten head is divided once, which gives the same
answers and the same training of everything else.

https://huggingface.co/baichuan-inc/Baichuan2-7B-Chat. Ends when transformers has the model_type
`baichuan` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from swift.model.quirks._layout import QKV, Layout, Part, checked, in_parts, renamed
from swift.model.quirks._llama import AS_LLAMA, DEFAULTS, LAYER, TOP, is_other, llama
from swift.model.quirks._speech import speech_of
from swift.model.quirks._stored import FLOATS, Stored, bytes_of

_NORMALISED = 125696
"""Rows of a head whose code divides by their lengths: Baichuan2's vocabulary."""

_NOTE = (
    "Baichuan2 divides the rows of its head by their lengths at every use; here it was done once: "
    "the same answers, and the same training with an adapter, but a head that is trained itself is "
    "trained as a plain one"
)


def layout(config: Mapping[str, Any], folder: Path) -> Layout | None:
    """Return how a folder of Baichuan becomes a Llama; None for the 13B ones."""
    if "max_position_embeddings" not in config:  # theirs say model_max_length alone
        return None
    said = checked(config, {**DEFAULTS, "vocab_size": 125696}, folder, is_other)
    wide, second = said["hidden_size"], _is_second(config, folder)
    parts: dict[str, Part] = {**AS_LLAMA, "self_attn.W_pack": in_parts(QKV, (wide,) * 3)}
    return Layout(
        called="Baichuan2" if second else "Baichuan",
        config=llama(said),
        weights=partial(_native, parts, second),
        speech=partial(speech_of, bos=False, longest=said["max_position_embeddings"], said=config),
        notes=(_NOTE,) if second else (),
    )


def _is_second(config: Mapping[str, Any], folder: Path) -> bool:
    """Return whether the head is Baichuan2's: by its rows, or by the code, which is only read."""
    code = folder / "modeling_baichuan.py"
    named = code.is_file() and "class NormHead" in code.read_text(encoding="utf-8")
    return named or config.get("vocab_size") == _NORMALISED


def _native(parts: Mapping[str, Part], second: bool, weight: Stored) -> Sequence[Stored]:
    if weight.name == "lm_head.weight" and second and weight.dtype in FLOATS:
        return [replace(weight, change=_divided)]
    return renamed(weight, TOP, LAYER, parts)


def _divided(weight: Stored) -> Iterator[memoryview]:
    """Yield a matrix whose rows are divided by their lengths, a thousand rows at a time."""
    import torch

    dtype = getattr(torch, FLOATS[weight.dtype])
    (data,) = weight.data
    row = data.nbytes // weight.shape[0]
    for begin in range(0, data.nbytes, 1024 * row):
        window = bytearray(data[begin : begin + 1024 * row])
        rows = torch.frombuffer(window, dtype=dtype).view(-1, weight.shape[1])
        exact = torch.nn.functional.normalize(rows.double(), dim=1).to(dtype)
        yield bytes_of(exact)
