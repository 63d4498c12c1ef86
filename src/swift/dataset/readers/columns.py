"""Tables as columns: Parquet, and Arrow's files and streams (Feather, `save_to_disk`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swift.core.errors import DataError, Problem
from swift.dataset.raw import Raw

_AT_ONCE = 256
"""Rows that become Python's values at once."""


def parquet(path: Path) -> Iterator[Raw]:
    """Yield the rows of a Parquet file; what is held at once is one of its row groups.

    Raises:
        DataError: It is none, was not written to its end, or holds what Python cannot; says after
            which row.
    """
    with _told(path, "Parquet") as reached:
        import pyarrow.parquet as pq

        with path.open("rb") as raw, pq.ParquetFile(raw) as file:
            yield from _rows(path, _batches(file), reached)


def _batches(file: Any) -> Iterator[Any]:
    for group in range(file.num_row_groups):  # asked for all at once, pyarrow 26 keeps them all
        yield from file.iter_batches(_AT_ONCE, row_groups=[group], use_threads=False)


def count(path: Path) -> int:
    """Return how many rows a Parquet file says that it has."""
    with _told(path, "Parquet"):
        import pyarrow.parquet as pq

        with path.open("rb") as raw, pq.ParquetFile(raw) as file:
            return int(file.metadata.num_rows)
    raise AssertionError


def arrow(path: Path) -> Iterator[Raw]:
    """Yield the rows of an Arrow file or stream.

    Raises:
        DataError: As for `parquet`.
    """
    with _told(path, "Arrow") as reached:
        import pyarrow

        with path.open("rb") as raw:
            is_file = raw.read(6) == b"ARROW1"
            raw.seek(0)
            if is_file:
                with pyarrow.ipc.open_file(raw) as file:
                    batches = (file.get_batch(i) for i in range(file.num_record_batches))
                    yield from _rows(path, batches, reached)
            else:
                with pyarrow.ipc.open_stream(raw) as stream:
                    yield from _rows(path, stream, reached)


def _rows(path: Path, batches: Any, reached: Callable[[int], None]) -> Iterator[Raw]:
    number = 0
    for batch in batches:
        for begin in range(0, batch.num_rows, _AT_ONCE):
            for row in batch.slice(begin, _AT_ONCE).to_pylist():
                number += 1
                yield Raw(row=row, origin=f"{path.name}:{number}")
            reached(number)


@contextmanager
def _told(path: Path, kind: str) -> Iterator[Callable[[int], None]]:
    """Turn what pyarrow complains of into a DataError after the last row that was reached."""
    import pyarrow

    last = [0]
    try:
        yield lambda number: last.__setitem__(0, number)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = f"no readable {kind} file: {said}"
        fix = ""
        if any(sign in said for sign in ("footer", "magic", "too small", "size is")):
            fix = "it was not written to its end, or is something else: fetch or write it again"
        raise DataError(Problem(where=f"{path}:{last[0] + 1}", what=what, fix=fix)) from error
