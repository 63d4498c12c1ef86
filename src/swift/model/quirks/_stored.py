"""Weights as bytes on a disk: read without a copy, cut by rows, written one after the other."""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import PlanError, Problem
from swift.model._header import indexed
from swift.model.facts import header, weight_files

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""The types of plain weights, as safetensors and as torch name them."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A weight; its bytes are windows on its file, so that many fit where few would in memory."""

    name: str
    dtype: str
    """As safetensors writes it: BF16."""

    shape: tuple[int, ...]
    data: tuple[memoryview, ...]
    """Its bytes, rows first; in several windows where its rows lie apart."""

    change: Callable[[Stored], Iterable[memoryview]] | None = None
    """Gives the bytes to be written in place of `data`, as many, a piece at a time."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(window.nbytes for window in self.data)

    def rows(self, name: str, *blocks: tuple[int, int]) -> Stored:
        """Return a weight of the rows that `blocks` name: (first, one past the last), ..."""
        (whole,) = self.data
        row = whole.nbytes // self.shape[0]
        count = sum(end - begin for begin, end in blocks)
        windows = tuple(whole[begin * row : end * row] for begin, end in blocks)
        return replace(self, name=name, shape=(count, *self.shape[1:]), data=windows)

    def split(self, names: Sequence[str]) -> list[Stored]:
        """Return as many equal parts along the first dimension as there are names."""
        rows = self.shape[0] // len(names)
        return [self.rows(name, (i * rows, (i + 1) * rows)) for i, name in enumerate(names)]

    def zeros(self, name: str, count: int) -> Stored:
        """Return a vector of `count` zeros of the same type."""
        size = self.size // max(1, math.prod(self.shape))
        return replace(self, name=name, shape=(count,), data=(memoryview(bytes(count * size)),))


def shards(folder: Path) -> list[list[Stored]]:
    """Return the weights of a model folder, file by file; safetensors before pytorch_model*.bin.

    Raises:
        PlanError: There are none, or a file cannot be read.
    """
    if files := weight_files(folder):
        return [_of_safetensors(path) for path in files]
    if files := _pickled(folder):
        return [_of_pickle(path) for path in files]
    raise PlanError(
        Problem(
            where="model",
            what=f"{folder} holds neither *.safetensors nor pytorch_model*.bin",
            fix="fetch it again",
        )
    )


def write(path: Path, weights: Sequence[Stored]) -> None:
    """Write a safetensors file; of the weights, no more than the system's buffers is in memory."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for weight in weights:
        begin, end = end, end + weight.size
        entries[weight.name] = {
            "dtype": weight.dtype,
            "shape": weight.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for weight in weights:
            for window in weight.change(weight) if weight.change else weight.data:
                file.write(window)


def _of_safetensors(path: Path) -> list[Stored]:
    entries = header(path)
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + size :]
    return [
        Stored(
            name=name,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            data=(whole[slice(*entry["data_offsets"])],),
        )
        for name, entry in entries.items()
    ]


def _pickled(folder: Path) -> list[Path]:
    index = folder / "pytorch_model.bin.index.json"
    if index.is_file():
        return indexed(index, ".bin")
    return sorted(folder.glob("pytorch_model*.bin"))


def _of_pickle(path: Path) -> list[Stored]:
    import torch

    words = {getattr(torch, theirs): word for word, theirs in FLOATS.items()}
    fix = "fetch it again, or the same weights as *.safetensors"
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises nothing narrower for a broken file
        what = f"no weights that can be read: {str(error).splitlines()[0]}"
        raise PlanError(Problem(where=str(path), what=what, fix=fix)) from error
    if not isinstance(tensors, dict) or not all(map(_plain, tensors.values())):
        what = "what it holds is no map of whole tensors"
        raise PlanError(Problem(where=str(path), what=what, fix=fix))
    return [
        Stored(
            name=str(name),
            dtype=words.get(tensor.dtype, str(tensor.dtype)),
            shape=tuple(tensor.shape),
            data=(bytes_of(tensor),),
        )
        for name, tensor in tensors.items()
    ]


def _plain(tensor: object) -> bool:
    """Return whether a pickled tensor has all its numbers in the file.

    One with strides of 0 would be as large as its shape says, out of a few bytes.
    """
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_meta:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.dtype.itemsize


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy where it is in one piece."""
    import torch

    return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]
