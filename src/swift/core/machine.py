"""What this machine has, found without importing torch: the vendors' own tools are asked."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from swift.core.env import chosen_devices
from swift.core.smi import READERS, Device


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_PATIENCE = 20.0
"""Seconds that a tool has to answer; a driver in trouble lets it wait for ever."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The devices of this machine that this process may use."""

    kind: str = "cpu"
    """torch's word for their kind, which accelerators.csv lists; AMD's has NVIDIA's word."""

    vendor: str = ""
    """nvidia, amd, ascend, intel, apple; "" for none."""

    devices: tuple[Device, ...] = ()
    """In the order in which torch numbers them; none: the CPU computes."""

    remarks: tuple[str, ...] = ()
    """What stands between this process and devices that are here."""

    @property
    def count(self) -> int:
        """How many devices there are."""
        return len(self.devices)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(device.name for device in self.devices)

    @property
    def bfloat16(self) -> bool:
        """Whether all of them compute in bfloat16."""
        return bool(self.devices) and all(device.bfloat16 for device in self.devices)

    @property
    def flash(self) -> bool:
        """Whether the package flash_attn has kernels for all of them."""
        return bool(self.devices) and all(device.flash for device in self.devices)

    @property
    def memory(self) -> int | None:
        """Bytes of the smallest device; None where nobody knows."""
        known = [device.memory for device in self.devices if device.memory]
        return min(known) if known and len(known) == self.count else None

    def describe(self) -> str:
        """Return the devices in words: "2 x NVIDIA H200"; "CPU" without any."""
        counts = {name: self.names.count(name) for name in self.names}
        words = [name if n == 1 else f"{n} x {name}" for name, n in counts.items()]
        return ", ".join(words) or "CPU"


@cache
def machine() -> Machine:
    """Return the devices that this process may use and the installed torch can."""
    return look(torch_serves())


def look(usable: Container[str] | None = None) -> Machine:
    """Ask the tools of all vendors, in the order of devices.csv.

    Args:
        usable: Vendors whose devices torch can use. None: all.
    """
    remarks: list[str] = []
    done: set[str] = set()
    for row in _rows():
        vendor = row["vendor"]
        if vendor in done or row["system"] not in ("", _system()) or not shutil.which(row["tool"]):
            continue
        devices = _asked(row, remarks)
        if not devices:
            continue
        done.add(vendor)
        remarks = [r for r in remarks if not r.startswith(row["tool"])]
        if usable is not None and vendor not in usable:
            named = Machine(devices=tuple(devices)).describe()
            remarks.append(f"{named}: of no use to the torch that is installed; {row['needs']} is")
        elif chosen := _chosen(devices, row["chosen_by"]):
            return Machine(kind=row["kind"], vendor=vendor, devices=chosen, remarks=tuple(remarks))
        else:
            remarks.append(f"{len(devices)} devices are hidden by {_spoken(row['chosen_by'])}")
    return Machine(remarks=tuple(remarks))


def _asked(row: dict[str, str], remarks: list[str]) -> list[Device]:
    """Return what one tool tells; what keeps it from telling becomes a remark."""
    tool = row["tool"]

    def ask(arguments: str) -> str:
        try:
            return _output([tool, *arguments.split()])
        except _SilentError:
            return ""

    try:
        return READERS[row["reader"]](_output([tool, *row["asks"].split()]), ask)
    except _SilentError as error:
        remarks.append(f"{tool} {error}")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        remarks.append(f"{tool} printed what is not understood ({type(error).__name__}: {error})")
    return []


class _SilentError(Exception):
    """A tool did not answer."""


def _output(words: Sequence[str]) -> str:
    """Return what a command prints.

    Raises:
        _SilentError: It cannot be run, fails, or takes longer than anybody waits.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise _SilentError(f"cannot be run: {error.strerror}") from error
    try:
        text = process.communicate(timeout=_PATIENCE)[0]
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise _SilentError(f"said nothing for {_PATIENCE:g} s: it was ended") from error
    if process.returncode:
        last = next(iter(text.strip().splitlines()[-1:]), "no word")
        raise _SilentError(f"failed ({process.returncode}): {last.strip()}")
    return text


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a process, and do not wait long: one that hangs in its driver cannot be killed."""
    process.kill()
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)


def _chosen(devices: Sequence[Device], chosen_by: str) -> tuple[Device, ...]:
    """Return the devices that variables let this process use, in their order.

    Args:
        devices: All.
        chosen_by: Names of variables: each counts among what the one before left; of "A|B" the
            first that is set.
    """
    left = tuple(devices)
    for names in chosen_by.split():
        said = next((s for n in names.split("|") if (s := chosen_devices(n)) is not None), None)
        left = left if said is None else _named(left, said)
    cut = any(" MIG " in device.name for device in left)
    return left[:1] if cut else left  # CUDA gives a process one instance of a GPU that is cut up


def _named(devices: Sequence[Device], words: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices that numbers or beginnings of ids name, up to the first unknown one."""
    found: list[Device] = []
    for word in words:
        number = word.partition(".")[0]  # device.tile, in ZE_AFFINITY_MASK
        if number.isdecimal() and int(number) < len(devices):
            device = devices[int(number)]
        else:
            same = [d for d in devices if word and d.id.startswith(word)]
            if len(same) != 1:
                break
            device = same[0]
        if device not in found or not device.id:
            found.append(device)
    return tuple(found)


def _spoken(chosen_by: str) -> str:
    return " or ".join(n for n in re.split(r"[ |]", chosen_by) if chosen_devices(n) is not None)


def torch_serves() -> frozenset[str] | None:
    """Return the vendors whose devices the installed torch can use; None without torch.

    Read from the text of its version.py: importing torch takes seconds.
    """
    spec = importlib.util.find_spec("torch")
    try:
        assert spec is not None and spec.origin is not None
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except (AssertionError, OSError):
        return None
    said = dict(re.findall(r"^(\w+)\b.*= *['\"](.+?)['\"]$", text, re.MULTILINE))
    return frozenset(row["vendor"] for row in _rows() if _serves(row, said))


def _serves(row: dict[str, str], version: dict[str, str]) -> bool:
    """Return whether torch, of which version.py tells that, serves a vendor's devices.

    devices.csv names the word of version.py that must have a value, or "package NAME".
    """
    word, _, package = row["served_by"].partition(" ")
    if package:
        return importlib.util.find_spec(package) is not None
    return word in version if word else row["system"] == _system()


def _system() -> str:
    return f"{sys.platform}-{platform.machine()}"


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with Path(__file__).with_name("devices.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
