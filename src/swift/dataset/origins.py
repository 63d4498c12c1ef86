"""Where items came from, "mine.jsonl:17", in 12 bytes each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Origins(Sequence[str]):
    """Origins: a stem that many share, and a number."""

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

    def places(self) -> NDArray[np.int64]:
        """Return a number below their count for each, the same for the same origin."""
        import numpy as np

        numbers = np.unique(self._numbers, return_inverse=True)[1]
        both = self._stems.astype(np.int64) * len(self) + numbers
        return np.asarray(np.unique(both, return_inverse=True)[1], dtype=np.int64)


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


def places(origins: Sequence[str]) -> NDArray[np.int64]:
    """Return a number below their count for each, the same for the same origin."""
    if isinstance(origins, Origins):
        return origins.places()
    import numpy as np

    known: dict[str, int] = {}
    return np.array([known.setdefault(origin, len(known)) for origin in origins], dtype=np.int64)
