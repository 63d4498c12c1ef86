"""Which part of a served model lies where: on one device, or layer by layer over several."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from swift.core.device import CPU
from swift.core.errors import MachineError, PlanError, Problem
from swift.seam import device as devices

_log = logging.getLogger("swift.engine")

_SHARE = 0.8
"""Of free memory, what weights may take, and of the rest what keys and values may."""

Layout = Mapping[str, str]
"""Path of a module -> torch's name of its device. "" is the whole model; "cpu" beside others keeps
weights in the CPU's memory, from where they are copied for each forward."""


def layout(model: Any, dtype: torch.dtype, wish: str) -> Layout:
    """Return where the parts of a skeleton shall lie.

    Args:
        model: Its parameters may be on the meta device.
        dtype: What its weights become.
        wish: auto, none, or the name of a device: see `model.device_map`.

    Raises:
        PlanError: There is no such device here.
        MachineError: The model is larger than all memory.
    """
    kind = devices.present()
    if wish not in ("auto", "none"):
        return {"": _named(wish, kind)}
    first = devices.address(kind, 0)
    if wish == "none" or kind == CPU:
        return {"": first}
    there = [torch.device(devices.address(kind, i)) for i in range(devices.count(kind))]
    free = [devices.free_memory(device) or 0 for device in there]
    return spread(model, dtype, {str(d): n for d, n in zip(there, free, strict=True)}, _memory())


def spread(model: Any, dtype: torch.dtype, free: Mapping[str, int], memory: int) -> Layout:
    """Return a layout over devices in their order, then in the CPU's memory.

    Args:
        model: See `layout`.
        dtype: See `layout`.
        free: Device -> bytes that nobody has.
        memory: Bytes of the CPU's memory.

    Raises:
        MachineError: The model is larger than all memory.
    """
    from accelerate import infer_auto_device_map

    size = sum(p.numel() for p in model.parameters()) * dtype.itemsize
    names = list(free)
    if size <= _SHARE * free[names[0]]:
        return {"": names[0]}
    room: dict[int | str, int] = {i: int(_SHARE * free[name]) for i, name in enumerate(names)}
    found = infer_auto_device_map(
        model,
        max_memory={**room, CPU: int(_SHARE * memory)},
        no_split_module_classes=list(model._no_split_modules or ()),
        dtype=dtype,
    )
    if "disk" in found.values():
        total = (sum(free.values()) + memory) / 1e9
        what = f"its weights take {size / 1e9:.3g} GB, and all memory here is {total:.3g} GB"
        raise MachineError(Problem(where="model", what=what, fix="a smaller model"))
    laid = {path: names[at] if isinstance(at, int) else CPU for path, at in found.items()}
    _log.warning("the model is larger than one device: %s", describe(laid))
    return laid


def describe(laid: Layout) -> str:
    """Return a layout in words."""
    counts = Counter(laid.values())
    said = [f"{n} parts on {name}" for name, n in counts.items() if name != CPU]
    if counts[CPU] and said:
        said.append(f"{counts[CPU]} in the CPU's memory, copied for each step, which is slow")
    return ", ".join(said) or "all of it on the CPU"


def place_of(name: str, laid: Layout) -> str:
    """Return where the parameter `name` lies: with the longest path that it is under."""
    above = (path for path in laid if not path or f"{name}.".startswith(f"{path}."))
    return laid[max(above, key=len)]


def put(model: Any, laid: Layout) -> torch.device:
    """Move a model whose weights lie as `laid` says, and return where its inputs go."""
    if len(laid) == 1:
        only = torch.device(next(iter(laid.values())))
        model.to(only)
        return only
    from accelerate import dispatch_model

    # What picks the rows of the last layer is made on the CPU: any device takes it from there.
    dispatch_model(model, dict(laid), skip_keys=["logits_to_keep"], force_hooks=True)
    return torch.device(next((name for name in laid.values() if name != CPU), CPU))


def room_for_cache(laid: Layout, names: Sequence[str]) -> float | None:
    """Return the bytes that keys and values of all layers may take; None where nobody can tell.

    Args:
        laid: Where the weights lie already.
        names: A parameter's name of each layer.
    """
    counts = Counter(place_of(name, laid) for name in names)
    main = next((name for name in laid.values() if name != CPU), CPU)
    rooms = []
    for name, layers in counts.items():
        # A layer whose weights are copied computes where the inputs go.
        free = devices.free_memory(torch.device(main if name == CPU else name))
        if free is None:
            return None
        rooms.append(_SHARE * free * len(names) / layers)
    return min(rooms)


def _named(wish: str, kind: str) -> str:
    """Return the device that a word names.

    Raises:
        PlanError: It is none, or none of here.
    """
    try:
        named = torch.device(wish)
    except RuntimeError:
        named = None
    known = [CPU]
    if kind != CPU:
        known += [devices.address(kind, i) for i in range(devices.count(kind))]
    if named is not None:
        word = CPU if named.type == CPU else devices.address(named.type, named.index or 0)
        if word in known:
            return word
    what = f"`{wish}` is no device of this machine"
    fix = f"auto, none, or one of {', '.join(known)}"
    raise PlanError(Problem(where="model.device_map", what=what, fix=fix))


def _memory() -> int:
    """Return the bytes of the CPU's memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
