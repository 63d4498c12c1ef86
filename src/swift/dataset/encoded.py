"""Tokens of a data set in flat arrays, in memory or mapped from files, and where each came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swift.dataset.origins import Origins, Stems

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
"""Files of arrays in a folder, and what they hold; the first three are the tokens, and after these
come the columns."""

_COLUMN = "column-"
"""What the names of columns' files begin with."""

NAMES = "names.json"
"""File with what origins begin with."""


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

    columns: Mapping[str, Sequence[float]] = {}
    """Of each item: see `Encoded.columns`."""


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

    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Numbers of each stored item: [items], or [items, sides] where its sequences have their own;
    not a number where an item has none."""

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

    def column(self, name: str, items: Sequence[int], sides: range) -> NDArray[np.float64]:
        """Return numbers of `items`, [len(sides) * len(items)]: side after side."""
        import numpy as np

        stored = np.asarray(items, dtype=np.int64)
        found = self.columns[name][stored if self.items is None else self.items[stored]]
        if found.ndim == 1:
            return np.tile(found, len(sides))
        return found[:, list(sides)].T.reshape(-1)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each item, all its sequences together."""
        stored = self.offsets[self.sides :: self.sides] - self.offsets[: -1 : self.sides]
        return stored if self.items is None else stored[self.items]

    @property
    def longest(self) -> NDArray[np.int64]:
        """Tokens of the longest sequence of each item."""
        import numpy as np

        stored = np.diff(self.offsets).reshape(-1, self.sides).max(axis=1, initial=0)
        found: NDArray[np.int64] = stored if self.items is None else stored[self.items]
        return found

    def trained(self) -> int:
        """Return the tokens that are learnt: of a sequence's first one nothing is predicted."""
        return sum(
            int(self.sequence(item, side)[1][1:].sum())
            for item in range(len(self))
            for side in range(self.sides)
        )

    def take(self, items: Sequence[int] | NDArray[np.int64]) -> Encoded:
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
        numbers = [self.columns[name] for name in sorted(self.columns)]
        for part in (self.ids, self.supervised, np.diff(self.offsets), *numbers, self.items):
            if part is not None:
                total.update(_bytes(part))
        return total.hexdigest()[:16]


class Store:
    """Takes blocks in, one after the other, into files of a folder or into memory."""

    def __init__(self, sides: int, folder: Path | None = None, columns: Sequence[str] = ()) -> None:
        self._sides, self._folder = sides, folder
        self._stems = Stems()
        self._kinds = _parts(columns)
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in self._kinds}
        self._files = {n: (folder / f"{n}.bin").open("wb") for n in self._kinds} if folder else {}

    def add(self, block: Block) -> None:
        """Take in the items of a block."""
        import numpy as np

        stems, numbers = self._stems.apart(block.origins)
        keys = block.keys or [0] * len(stems)
        columns = [block.columns[name] for name in sorted(block.columns)]
        made = (block.ids, block.supervised, block.sizes, *columns, stems, numbers, keys)
        for (name, kind), part in zip(self._kinds.items(), made, strict=True):
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
                for name, kind in self._kinds.items()
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
    for name, kind in _stored(folder).items():
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
    for name in (*(f"{part}.bin" for part in _stored(folder)), NAMES):
        if name == "stems.bin":
            told = total.hexdigest()[:16]
        with (folder / name).open("rb") as file:
            while data := file.read(1 << 20):
                total.update(data)
    return told, total.hexdigest()


def _parts(columns: Iterable[str]) -> dict[str, str]:
    """Return what is stored, in order, and of what kind it is."""
    first = dict(list(PARTS.items())[:3])
    return {**first, **{f"{_COLUMN}{name}": "float64" for name in sorted(columns)}, **PARTS}


def _stored(folder: Path) -> dict[str, str]:
    """Return `_parts` of what is in a folder."""
    return _parts(path.stem.removeprefix(_COLUMN) for path in folder.glob(f"{_COLUMN}*.bin"))


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
        columns={
            name.removeprefix(_COLUMN): array
            for name, array in arrays.items()
            if name.startswith(_COLUMN)
        },
        digest=fingerprint,
    )


def _bytes(array: NDArray[Any]) -> memoryview | bytes:
    """Return what an array holds, not copied."""
    return array.data.cast("B") if array.size else b""
