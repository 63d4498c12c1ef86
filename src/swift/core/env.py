"""The only reader of the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that torchrun started; one process without it."""

    rank: int = 0
    local_rank: int = 0
    """Number on this machine: which GPU is this process's."""

    world: int = 1
    run_id: str = ""
    """torchrun's name of the run: the same after a restart."""


def ranks() -> Ranks:
    """Return what torchrun said of this process."""
    return Ranks(
        rank=int(os.environ.get("RANK", "0")),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        world=int(os.environ.get("WORLD_SIZE", "1")),
        run_id=os.environ.get("TORCHELASTIC_RUN_ID", ""),
    )


def cache_home() -> Path:
    """Return the folder for what can be made again: $SWIFT_CACHE, or the user's cache folder."""
    named = os.environ.get("SWIFT_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "swift"
