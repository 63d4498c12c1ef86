"""What the tools of devices' vendors print, read into values. `devices.csv` says which reader."""

from __future__ import annotations

import csv
import json
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

Ask = Callable[[str], str]
"""Arguments -> what the same tool prints for them; "" where it fails."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device, as its vendor's tool describes it."""

    name: str
    """As the tool has it: NVIDIA H200, 910B3."""

    memory: int | None = None
    """Its memory in bytes, None where the tool does not tell."""

    bfloat16: bool = False
    """Whether its matrix units compute in bfloat16."""

    flash: bool = False
    """Whether the package flash_attn has kernels for it."""

    id: str = ""
    """The vendor's lasting name of it (a UUID), "" where there is none."""

    def describe(self) -> str:
        """Return it in words: "NVIDIA H200 (140.4 GiB, bfloat16)"."""
        said = [f"{self.memory / 2**30:.1f} GiB" if self.memory else "memory unknown"]
        return f"{self.name} ({', '.join([*said, *(['bfloat16'] if self.bfloat16 else [])])})"


def nvidia(text: str, ask: Ask) -> list[Device]:
    """Read `name, MiB, uuid[, MIG mode, compute capability]`, a line a GPU.

    Of GPUs that are cut up (MIG), CUDA shows a process one instance, the first, unless a variable
    names another: all instances are returned in place of the GPUs.
    """
    whole: list[Device] = []
    cut = False
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) < 3:
            continue
        name, memory, uuid, mode, capability = (*(word.strip() for word in row), "", "")[:5]
        cut |= mode == "Enabled"
        sign = f"cc {capability}" if re.fullmatch(r"\d+\.\d+", capability) else name
        whole.append(
            Device(name=name, memory=_scaled(memory, 2**20), id=uuid, **_able("nvidia", sign))
        )
    return _instances(ask("-L"), whole) if cut else whole


def _instances(listed: str, whole: list[Device]) -> list[Device]:
    """Return the instances in `nvidia-smi -L`; a GPU without any that is not cut up stays."""
    found: list[Device] = []
    parent: Device | None = None
    pattern = r"\s+MIG (\S*?(\d+)gb\S*)\s+Device\s+\d+: \(UUID: ([^)]+)\)"
    for line in listed.splitlines():
        if gpu := re.match(r"GPU \d+: .*\(UUID: ([^)]+)\)", line):
            parent = next((d for d in whole if d.id == gpu[1]), None)
        elif parent and (part := re.match(pattern, line)):
            # The profile's name tells the memory in whole GiB.
            found.append(
                Device(
                    name=f"{parent.name} MIG {part[1]}",
                    memory=int(part[2]) * 2**30,
                    bfloat16=parent.bfloat16,
                    flash=parent.flash,
                    id=part[3],
                )
            )
    return found


def amd_smi(text: str, ask: Ask) -> list[Device]:
    """Read the JSON of `amd-smi static`: a list of GPUs, under `gpu_data` since ROCm 7."""
    tree = _json(text)
    rows = tree.get("gpu_data", []) if isinstance(tree, Mapping) else tree
    found = []
    for row in rows:
        asic, vram = row.get("asic") or {}, row.get("vram") or {}
        name = str(asic.get("market_name", "AMD GPU"))
        sign = str(asic.get("target_graphics_version", ""))
        size = vram.get("size")
        size = size.get("value") if isinstance(size, Mapping) else str(size).removesuffix(" MB")
        found.append(
            Device(
                name=name,
                memory=_scaled(str(size), 2**20),
                id=str(asic.get("asic_serial", "")),
                **_able("amd", sign if sign.startswith("gfx") else name),
            )
        )
    return found


def rocm_smi(text: str, ask: Ask) -> list[Device]:
    """Read the JSON of `rocm-smi`: card0, card1, …; capitals in its keys changed with ROCm 6."""
    found = []
    for key, card in _json(text).items():
        if not re.fullmatch(r"card\d+", key):
            continue
        said = {name.lower(): str(value) for name, value in card.items()}
        name = said.get("card series", "AMD GPU")
        if name.startswith("0x") or name == "N/A":
            name = said.get("card model", name)
        sign = said.get("gfx version", name)
        memory = _scaled(said.get("vram total memory (b)", ""), 1)
        found.append(
            Device(name=name, memory=memory, id=said.get("guid", ""), **_able("amd", sign))
        )
    return found


def npu_smi(text: str, ask: Ask) -> list[Device]:
    """Read the table of `npu-smi info`: two lines a chip, the first with the card's name.

    A card may have several chips, each a device. Memory is the last `used / total` of the second
    line: HBM on the 910 series, the only memory on the 310 series.
    """
    found: list[Device] = []
    name = ""
    for cells in _cells(text.partition("Process id")[0]):
        card, chip = re.fullmatch(r"\d+\s+(\S*[A-Za-z]\S*)", cells[0]), cells[0].split()
        if card:
            name = card[1]
        elif name and 1 <= len(chip) <= 2 and all(word.isdecimal() for word in chip):
            totals = [int(t) for t in re.findall(r"\d+\s*/\s*(\d+)", cells[-1]) if int(t)]
            memory = totals[-1] * 2**20 if totals else None
            found.append(Device(name=name, memory=memory, **_able("ascend", name)))
    return found


def _cells(table: str) -> Iterator[list[str]]:
    """Yield the cells of each line of a table that has three or more."""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.lstrip().startswith("|") and len(cells) >= 3:
            yield cells


def xpu_smi(text: str, ask: Ask) -> list[Device]:
    """Read the JSON of `xpu-smi discovery -j`; a device's own page tells its memory."""
    found = []
    for row in _json(text).get("device_list", []):
        name = str(row.get("device_name", "Intel GPU"))
        page = ask(f"discovery -d {int(row['device_id'])} -j")
        size = str(_json(page).get("memory_physical_size_byte", "")) if page else ""
        found.append(
            Device(
                name=name,
                memory=_scaled(size, 1),
                id=str(row.get("uuid", "")),
                **_able("intel", name),
            )
        )
    return found


def sysctl(text: str, ask: Ask) -> list[Device]:
    """Read the name of an Apple chip and its memory, which CPU and GPU share."""
    name, memory = text.split("\n")[:2]
    release = f"macOS {platform.mac_ver()[0]}"
    return [Device(name=name.strip(), memory=_scaled(memory, 1), **_able("apple", release))]


READERS: Mapping[str, Callable[[str, Ask], list[Device]]] = {
    reader.__name__: reader for reader in (nvidia, amd_smi, rocm_smi, npu_smi, xpu_smi, sysctl)
}


def _json(text: str) -> Any:
    """Return the JSON in `text`; tools write warnings before it."""
    start = min((place for sign in "{[" if (place := text.find(sign)) >= 0), default=0)
    return json.loads(text[start:])


def _scaled(number: str, unit: int) -> int | None:
    """Return `number` x `unit` bytes; None for [N/A] and other words."""
    try:
        return int(float(number) * unit)
    except ValueError:
        return None


class _Able(TypedDict):
    bfloat16: bool
    flash: bool


def _able(vendor: str, sign: str) -> _Able:
    """Return what chips.csv says of a chip; of an unknown one, that it can do nothing special."""
    for row in _chips():
        if row["vendor"] == vendor and re.search(row["pattern"], sign):
            return _Able(bfloat16=row["bfloat16"] == "yes", flash=row["flash"] == "yes")
    return _Able(bfloat16=False, flash=False)


@cache
def _chips() -> tuple[dict[str, str], ...]:
    with Path(__file__).with_name("chips.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
