"""Devices at run time: the only code that deals with their differences, through torch's own API.

torch has one interface for all of them (`torch.accelerator`, `torch.get_device_module`); what it
does not tell is in `core/accelerators.csv`. Everything here works on a CPU too.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
import torch.distributed as dist

from swift.core.device import CPU, accelerator
from swift.core.errors import MachineError, Problem
from swift.core.machine import machine


def ready(kind: str) -> None:
    """Make torch able to compute on `kind`.

    Raises:
        MachineError: Its plug-in is missing or broken, or torch sees no such device.
    """
    plugin = accelerator(kind).plugin
    if plugin:
        try:
            importlib.import_module(plugin)
        except Exception as error:  # it is missing, or made for another driver
            why = f"{type(error).__name__}: {error}"
            what = f"{plugin}, which {kind} needs, cannot be loaded ({why})"
            fix = "docs/hardware.md tells which versions go together; CUDA, ROCm and CPU need none"
            raise MachineError(Problem(where="device", what=what, fix=fix)) from error
    if kind != CPU and not _module(kind).is_available():
        what = f"the plan computes on {kind}, but torch sees no such device here"
        fix = "`swift env` shows what is here; delete the run folder to plan anew"
        raise MachineError(Problem(where="device", what=what, fix=fix))


def present() -> str:
    """Return the kind of device that torch computes on here; cpu without any other."""
    kind = machine().kind
    if accelerator(kind).plugin:
        ready(kind)
    found = torch.accelerator.current_accelerator(check_available=True)
    return CPU if found is None else found.type


def address(kind: str, number: int) -> str:
    """Return torch's name of a device; a CPU has no number."""
    return kind if kind == CPU else f"{kind}:{number}"


def join(kind: str, number: int) -> str:
    """Make device `number` this process's own, and return the backends of its collectives.

    Tensors in the CPU's memory meet by gloo whatever the device is: counts of rows, words.

    Raises:
        MachineError: As `ready`; or there is no such device.
    """
    ready(kind)
    if number >= count(kind) and kind != CPU:
        what = f"process {number} of this machine has no device: torch sees {count(kind)} of {kind}"
        fix = f"--nproc_per_node={count(kind)}"
        raise MachineError(Problem(where="device", what=what, fix=fix))
    if kind != CPU:
        torch.accelerator.set_device_index(number)
    own = accelerator(kind).collectives or str(dist.get_default_backend_for_device(kind))
    return own if kind == CPU else f"{CPU}:{accelerator(CPU).collectives},{kind}:{own}"


def widest(device: torch.device | str) -> torch.dtype:
    """Return the widest numbers that a device adds up well."""
    found: torch.dtype = getattr(torch, accelerator(torch.device(device).type).sums)
    return found


def fused(kind: str) -> bool:
    """Return whether torch's fused optimisers run on a kind of device."""
    return accelerator(kind).fused == "yes"


def bfloat16(kind: str) -> bool:
    """Return whether the current device of a kind computes in bfloat16 itself."""
    module = _module(kind)
    asked = getattr(module, "is_bf16_supported", None)
    if asked is None:
        return machine().bfloat16
    try:
        return bool(asked(including_emulation=False))
    except TypeError:  # only NVIDIA's and Intel's know the word
        return bool(asked())


def best_dtype(kind: str) -> str:
    """Return the number format to answer in: bfloat16 where the device has it."""
    if kind == CPU:
        return accelerator(kind).half
    return "bfloat16" if bfloat16(kind) else accelerator(kind).half


def count(kind: str) -> int:
    """Return how many devices of a kind torch sees; one CPU."""
    return 1 if kind == CPU else int(_module(kind).device_count())


def free_memory(device: torch.device) -> int | None:
    """Return the bytes of a device that nobody has; None where nobody can tell (CPU)."""
    if device.type == CPU:
        return None
    module = _module(device.type)
    if hasattr(module, "recommended_max_memory"):  # Apple: memory is the system's
        return int(module.recommended_max_memory() - module.driver_allocated_memory())
    return int(torch.accelerator.get_memory_info(device)[0])


def peak_memory() -> int:
    """Return the most bytes this process held: on its accelerator if it has one, else resident."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is not None:
        module = _module(found.type)
        if hasattr(module, "driver_allocated_memory"):  # Apple's counts no peak: what is held now
            return int(module.driver_allocated_memory())
        return int(torch.accelerator.max_memory_allocated())
    import resource  # which not every system has

    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def generators(kind: str) -> dict[str, torch.Tensor]:
    """Return kind -> state of its generator: the CPU's, and that of this process's device."""
    found = {CPU: torch.get_rng_state()}
    if kind != CPU:
        found[kind] = _module(kind).get_rng_state()
    return found


def set_generator(kind: str, state: torch.Tensor) -> None:
    """Set a generator to a state that `generators` gave."""
    if kind == CPU:
        torch.set_rng_state(state)
    else:
        _module(kind).set_rng_state(state)


def _module(kind: str) -> Any:
    return torch.get_device_module(kind)
