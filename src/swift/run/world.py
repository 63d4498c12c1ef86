"""The processes of one run: joining them, agreeing on bytes, waiting for each other."""

from __future__ import annotations

import datetime
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from swift.core.env import Ranks, ranks
from swift.core.errors import SwiftError
from swift.seam.device import join


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the process group that the environment names, if there is one, and leave it at the end.

    The backends are the device's own and the CPU's. Without several ranks nothing is started.

    Args:
        device: Kind of device that the ranks compute on.

    Raises:
        MachineError: torch cannot compute on it here.
    """
    here = ranks()
    if here.world == 1 or dist.is_initialized():
        yield here
        return
    backend = join(device, here.local_rank)
    wait = datetime.timedelta(hours=2)
    store, rank, world = next(dist.rendezvous("env://", timeout=wait))
    # torchrun keeps one store over restarts (torch 2.13), in which the addresses of the processes
    # before are still found: a new one that is quicker than its peer would call the dead.
    store = dist.PrefixStore(f"restart-{here.restarts}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
    try:
        yield here
    finally:
        # What still holds the group must go first: with FSDP2 on gloo a worker else now and then
        # aborts as it exits ("terminate called without an active exception", torch 2.13).
        gc.collect()
        dist.destroy_process_group()


def from_rank_zero(make: Callable[[], bytes]) -> bytes:
    """Return what rank 0's `make` returns, on every rank; its error is raised on every rank."""
    if not dist.is_initialized():
        return make()
    box: list[bytes | BaseException | None] = [None]
    if dist.get_rank() == 0:
        try:
            box[0] = make()
        except Exception as error:
            box[0] = error
    dist.broadcast_object_list(box, src=0)
    if isinstance(box[0], BaseException):
        if isinstance(box[0], SwiftError):
            box[0].told = dist.get_rank() != 0
        raise box[0]
    assert box[0] is not None
    return box[0]


def barrier() -> None:
    """Wait for all ranks."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def on_every_rank() -> Iterator[None]:
    """Let an error within it be raised on all ranks, so that none waits for another."""
    error: SwiftError | None = None
    try:
        yield
    except SwiftError as raised:
        error = raised
    agreed(error)


def agreed(error: SwiftError | None, share: Any = None) -> list[Any]:
    """Return what every rank has to share, on every rank; the first error is raised on all.

    Raises:
        SwiftError: Of some rank.
    """
    if not dist.is_initialized():
        if error is not None:
            raise error
        return [share]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, (error, share))
    for rank, (raised, _) in enumerate(found):
        if raised is not None:
            raised.told = rank != dist.get_rank()
            raise raised
    return [shared for _, shared in found]
