"""Tokens of a data set in flat arrays, in memory or mapped from files, and where each came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS = {
    "ids": "int32",
    "supervised": "bool",
    "sizes": "int64",
    "stems": "int32",
    "numbers": "int64",
    "keys": "uint64",
}
"""Files of arrays in a folder, and what they hold; the first three are the tokens."""

NAMES = "names.json"
"""File with what origins begin with."""


class Origins(Sequence[str]):
    """Where items came from, "mine.jsonl:17", in 12 bytes each."""

    def __init__(
        self, names: Sequence[str], stems: NDArray[np.int32], numbers: NDArray[np.int64]
    ) -> None:
        self._names, self._stems, self._numbers = names, stems, numbers

    def __len__(self) -> int:
        return len(self._stems)

    @overload
    def __getitem__(self, item: int) -> str: ...
    @overload
    def __getitem__(self, item: slice) -> Origins: ...
    def __getitem__(self, item: int | slice) -> str | Origins:
        if isinstance(item, slice):
            return Origins(self._names, self._stems[item], self._numbers[item])
        number = int(self._numbers[item])
        stem: str = self._names[int(self._stems[item])]
        return stem + (str(number) if number >= 0 else "")

    def take(self, items: NDArray[np.int64]) -> Origins:
        """Return those of `items`."""
        return Origins(self._names, self._stems[items], self._numbers[items])


class Stems:
    """Takes origins apart: what many share, and a number."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def apart(self, origins: Iterable[str]) -> tuple[list[int], list[int]]:
        """Return (stem, number) of each origin; number -1 where it ends with none."""
        stems: list[int] = []
        numbers: list[int] = []
        for origin in origins:
            stem = origin.rstrip("0123456789")
            digits = origin[len(stem) :]
            if not digits or (digits[0] == "0" and len(digits) > 1) or len(digits) > 18:
                stem, digits = origin, "-1"
            stems.append(self.known.setdefault(stem, len(self.known)))
            numbers.append(int(digits))
        return stems, numbers


class Block(NamedTuple):
    """Tokens of some items, one after the other."""

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    """Tokens of each sequence."""

    origins: list[str]
    """Of each item."""

    keys: Sequence[int] = ()
    """Of each item: see `Encoded.keys`."""


@dataclass(frozen=True)
class Encoded:
    """Items of k sequences each (one, or chosen and rejected), in flat arrays."""

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    """Where each sequence begins in `ids`, and the end of the last one; sequence s of stored item
    i is number i * sides + s."""

    sides: int
    origins: Sequence[str]
    """Of each item."""

    items: NDArray[np.int64] | None = None
    """Which of the stored items these are, in order; None for all."""

    keys: NDArray[np.uint64] | None = None
    """Of each stored item 64 bits that are the same for items that say the same."""

    digest: str = ""
    """What `fingerprint` returns, where it is known."""

    def __len__(self) -> int:
        return len(self.items) if self.items is not None else (len(self.offsets) - 1) // self.sides

    def sequence(self, item: int, side: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return (ids, supervised) of one sequence."""
        stored = item if self.items is None else self.items[item]
        number = stored * self.sides + side
        begin, end = self.offsets[number], self.offsets[number + 1]
        return self.ids[begin:end], self.supervised[begin:end]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each item, all its sequences together."""
        stored = self.offsets[self.sides :: self.sides] - self.offsets[: -1 : self.sides]
        return stored if self.items is None else stored[self.items]

    def take(self, items: Sequence[int]) -> Encoded:
        """Return only `items`, in that order; tokens are not copied."""
        import numpy as np

        chosen = np.asarray(items, dtype=np.int64)
        if isinstance(self.origins, Origins):
            origins: Sequence[str] = self.origins.take(chosen)
        else:
            origins = [self.origins[i] for i in chosen]
        stored = chosen if self.items is None else self.items[chosen]
        return replace(self, origins=origins, items=stored, digest="")

    def fingerprint(self) -> str:
        """Return a digest of all ids and marks, in order."""
        if self.digest:
            return self.digest
        import numpy as np

        total = hashlib.sha256()
        for part in (self.ids, self.supervised, np.diff(self.offsets), self.items):
            if part is not None:
                total.update(_bytes(part))
        return total.hexdigest()[:16]


class Store:
    """Takes blocks in, one after the other, into files of a folder or into memory."""

    def __init__(self, sides: int, folder: Path | None = None) -> None:
        self._sides, self._folder = sides, folder
        self._stems = Stems()
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in PARTS}
        self._files = {n: (folder / f"{n}.bin").open("wb") for n in PARTS} if folder else {}

    def add(self, block: Block) -> None:
        """Take in the items of a block."""
        import numpy as np

        stems, numbers = self._stems.apart(block.origins)
        keys = block.keys or [0] * len(stems)
        made = (block.ids, block.supervised, block.sizes, stems, numbers, keys)
        for (name, kind), part in zip(PARTS.items(), made, strict=True):
            array = np.ascontiguousarray(part, dtype=kind)
            if self._files:
                self._files[name].write(_bytes(array))
            else:
                self._parts[name].append(array)

    def close(self) -> Encoded:
        """Return what was taken in."""
        import numpy as np

        names = list(self._stems.known)
        if self._folder is None:
            arrays = {
                name: np.concatenate([np.zeros(0, kind), *self._parts.pop(name)]).astype(
                    kind, copy=False
                )
                for name, kind in PARTS.items()
            }
            return of_arrays(arrays, names, self._sides)
        self.stop()
        (self._folder / NAMES).write_text(json.dumps(names), encoding="utf-8")
        return opened(self._folder, self._sides, "")

    def stop(self) -> None:
        """Close the files: all, also where what one still holds cannot be written."""
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)


def opened(folder: Path, sides: int, fingerprint: str) -> Encoded:
    """Return what a Store wrote, mapped from its files.

    Raises:
        OSError, ValueError: A file is not there, or not what it was.
    """
    import numpy as np

    arrays = {}
    for name, kind in PARTS.items():
        path = folder / f"{name}.bin"
        empty = path.stat().st_size == 0  # of which there is no map
        arrays[name] = np.zeros(0, kind) if empty else np.memmap(path, dtype=kind, mode="r")
    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    return of_arrays(arrays, names, sides, fingerprint)


def digests(folder: Path) -> tuple[str, str]:
    """Return (the fingerprint of the tokens, the digest of all files) that a Store wrote.

    Raises:
        OSError: A file is not there.
    """
    total, told = hashlib.sha256(), ""
    for name in (*(f"{part}.bin" for part in PARTS), NAMES):
        with (folder / name).open("rb") as file:
            while data := file.read(1 << 20):
                total.update(data)
        if name == "sizes.bin":
            told = total.hexdigest()[:16]
    return told, total.hexdigest()


def of_arrays(
    arrays: Mapping[str, NDArray[Any]], names: Sequence[str], sides: int, fingerprint: str = ""
) -> Encoded:
    """Return items from the arrays of PARTS."""
    import numpy as np

    return Encoded(
        ids=arrays["ids"],
        supervised=arrays["supervised"],
        offsets=np.concatenate(([0], np.cumsum(arrays["sizes"]))).astype(np.int64),
        sides=sides,
        origins=Origins(names, arrays["stems"], arrays["numbers"]),
        keys=arrays["keys"],
        digest=fingerprint,
    )


def _bytes(array: NDArray[Any]) -> memoryview | bytes:
    """Return what an array holds, not copied."""
    return array.data.cast("B") if array.size else b""
