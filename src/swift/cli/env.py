"""`swift env`: what a report of a mistake needs: versions, devices, memory, disk."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from swift import __version__
from swift.cli.flags import split
from swift.core.device import accelerators
from swift.core.errors import Problem, UserError
from swift.core.files import free_bytes
from swift.core.machine import machine

_PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "pydantic", "pyarrow")

_OF_DEVICES = ("flash_attn", "triton", *(a.plugin for a in accelerators().values() if a.plugin))
"""Shown where they are installed."""


def main(verb: str, words: list[str]) -> int:
    """Print the facts, as lines or with --json as one object; none of the packages is imported."""
    line = split(words, alone=frozenset({"json", "help"}), many=lambda name: False)
    as_json, line = line.pick("json")
    wants_help, line = line.pick("help")
    if wants_help:
        print("usage: swift env [--json]\n\nShow versions, devices, memory and disk.")
        return 0
    if line.flags or line.files:
        fix = "usage: swift env [--json]"
        raise UserError(Problem(what=f"`swift env` does not take {' '.join(words)}", fix=fix))
    found = facts()
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    width = max(map(len, found))
    labels = {name: name.removesuffix("_bytes").replace("_", " ") for name in found}
    print("\n".join(f"{labels[name]:<{width}}  {_text(value)}" for name, value in found.items()))
    return 0


def facts() -> Mapping[str, str | int | list[str] | None]:
    """Return name -> value; None for a package that is not installed; sizes in bytes."""
    devices = machine()
    return {
        "swift": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        **{package: _version(package) for package in _PACKAGES},
        **{package: found for package in _OF_DEVICES if (found := _version(package))},
        "computes_on": f"{devices.kind} ({devices.vendor})" if devices.count else devices.kind,
        "devices": [device.describe() for device in devices.devices],
        "remarks": list(devices.remarks),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory(),
        "free_disk_bytes": free_bytes(Path()),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _text(value: str | int | list[str] | None) -> str:
    if value is None:
        return "not installed"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value / 2**30:.1f} GiB" if isinstance(value, int) and value > 2**20 else str(value)
