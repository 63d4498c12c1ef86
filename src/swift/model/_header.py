"""Whether the header of a safetensors file, or an index of files, is one; nothing is believed."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from swift.core.errors import PlanError, Problem

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
"""Types of safetensors -> bits of a number."""

_LONGEST = 100_000_000
"""Bytes of a header; safetensors itself reads no longer one."""

_DIMENSIONS = 64
"""A tensor of torch has no more."""

_SHOWN = 3


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return a safetensors file's header, each tensor's bytes where its shape and type say.

    Raises:
        PlanError: The file is cut short, is no safetensors file, or its tensors' bytes do not fit
            their shapes, lie over one another or leave some of the file out.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            room = path.stat().st_size - 8 - size
            if room < 0 or size > _LONGEST:
                raise ValueError("its beginning is no safetensors header")
            found = json.loads(file.read(size))
        if not isinstance(found, dict):
            raise ValueError("its header is no map")
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise _broken(path, [f"no readable safetensors file ({error})"]) from error
    found.pop("__metadata__", None)
    wrong = [f"`{name[:200]}`: {why}" for name, entry in found.items() if (why := _odd(entry))]
    wrong = wrong or list(_misplaced(found, room))
    if wrong:
        raise _broken(path, wrong)
    return found


def _broken(path: Path, wrong: list[str]) -> PlanError:
    more = len(wrong) - _SHOWN
    shown = wrong[:_SHOWN] + ([f"{more} further entries are broken too"] if more > 0 else [])
    return PlanError([Problem(where=str(path), what=w, fix="fetch it again") for w in shown])


def _odd(entry: object) -> str:
    """Return why an entry of a header describes no tensor; "" where it does."""
    if not isinstance(entry, dict):
        return "its entry is no map"
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _BITS:
        return f"its dtype is {_cut(dtype)}, which safetensors does not know"
    if not _sizes(shape) or len(shape) > _DIMENSIONS:
        return f"its shape is {_cut(shape)}, no list of sizes"
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        return f"its data_offsets are {_cut(offsets)}, no beginning and end"
    wanted, length = math.prod(shape) * _BITS[dtype], offsets[1] - offsets[0]
    if wanted != 8 * length:
        return f"it has {length} bytes, and {dtype} of shape {_cut(shape)} takes another number"
    return ""


def _sizes(said: object) -> TypeGuard[list[int]]:
    return isinstance(said, list) and all(type(n) is int and 0 <= n < 2**63 for n in said)


def _cut(said: object) -> str:
    text = repr(said)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _misplaced(found: dict[str, dict[str, Any]], room: int) -> Iterator[str]:
    """Say where bytes belong to two tensors, to none, or are not in the file."""
    end = 0
    for name, entry in sorted(found.items(), key=lambda item: item[1]["data_offsets"]):
        begin, after = entry["data_offsets"]
        if begin != end:
            how = "lies over another tensor" if begin < end else "leaves bytes out before it"
            yield f"`{name[:200]}` {how}"
            return
        end = after
    if end > room:
        yield "the file is cut short"
    elif end < room:
        yield f"its last {room - end} bytes belong to no tensor"


def indexed(index: Path, suffix: str) -> list[Path]:
    """Return the files that an index of weights names, each once, in order of name.

    Args:
        index: Such as model.safetensors.index.json.
        suffix: What the files end in.

    Raises:
        PlanError: It is no index, or names what is no such file beside it.
    """
    try:
        said = json.loads(index.read_text(encoding="utf-8"))
        names = list(_named(said))
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(index, [f"no index of weights ({error})"]) from error
    strange = [n for n in names if Path(n).name != n or not n.endswith(suffix) or "\0" in n]
    if strange:
        raise _broken(index, [f"it names {_cut(strange[0])}, which is no file beside it"])
    return [index.parent / name for name in sorted(names)]


def _named(said: object) -> Iterable[str]:
    places = said.get("weight_map") if isinstance(said, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError("it has no weight_map")
    if strange := [v for v in places.values() if not isinstance(v, str)]:
        raise ValueError(f"its weight_map holds {_cut(strange[0])}, no file's name")
    return set(places.values())
