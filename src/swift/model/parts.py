"""What the headers of a folder's weights tell of its model: parts, sizes, adapters' sizes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swift.model.facts import header, weight_files

_DTYPES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_BLOCK = re.compile(r"\.\d+\.")
_RANK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Sizes of a model's parts, in numbers."""

    parameters: int
    """All stored numbers; 0 where the folder holds no weights."""

    dtype: str
    """What most are stored in, as torch says it."""

    sizes: Mapping[str, int]
    """Path of a part -> its numbers, in the order of the files."""

    matrices: int
    """Numbers in matrices of blocks (`layers.0.`): what adapters go on and 4 bits pack."""

    adapter: int
    """Numbers of a LoRA adapter of rank 8 on all of them."""


def read_parts(folder: Path) -> Parts:
    """Return the parts of the model in `folder`, from its safetensors headers alone.

    Raises:
        PlanError: A file is cut short or is no safetensors file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    types: Counter[str] = Counter()
    for file in weight_files(folder):
        for name, entry in header(file).items():
            shapes[name] = tuple(entry["shape"])
            types[entry["dtype"]] += math.prod(entry["shape"])
    inside = [s for name, s in shapes.items() if len(s) in (2, 3) and _BLOCK.search(name)]
    most = types.most_common(1)[0][0] if types else ""
    return Parts(
        parameters=sum(types.values()),
        dtype=_DTYPES.get(most, most.lower()),
        sizes=_grouped({name: math.prod(shape) for name, shape in shapes.items()}),
        matrices=sum(math.prod(shape) for shape in inside),
        adapter=sum(_RANK * math.prod(s[:-2]) * (s[-2] + s[-1]) for s in inside),
    )


def _grouped(numbers: Mapping[str, int]) -> Mapping[str, int]:
    """Return the sizes of the outermost modules; one that holds most is taken apart once."""
    outer: Counter[str] = Counter()
    for name, size in numbers.items():
        outer[_head(name, 1)] += size
    most = [path for path, size in outer.items() if 2 * size > outer.total()]
    inner: Counter[str] = Counter()
    for name, size in numbers.items():
        inner[_head(name, 2 if _head(name, 1) in most else 1)] += size
    return dict(inner)


def _head(name: str, depth: int) -> str:
    """Return the path of a weight's module, cut to `depth` words."""
    return ".".join(name.split(".")[:-1][:depth]) or name
