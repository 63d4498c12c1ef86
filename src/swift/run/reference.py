"""What a model that stays as it is says of all rows, computed once and kept for later runs."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from swift import __version__
from swift.core.env import Ranks, cache_home
from swift.core.errors import SwiftError
from swift.core.files import write_bytes
from swift.dataset.cache import stamp
from swift.method._referred import Referred
from swift.run.feed import lay_of
from swift.run.world import from_rank_zero
from swift.seam.collate import Lay, collate
from swift.seam.device import widest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swift.dataset.encoded import Encoded
    from swift.parallel import Placement
    from swift.plan import Plan
    from swift.run.data import Prepared

Event = Callable[..., Any]

_WEIGHTS = (".safetensors", ".bin", ".json")

_EVERY = 10.0
"""Seconds between two words on how far the work is."""


def referred(
    plan: Plan,
    prepared: Prepared,
    policy: Placement,
    frozen: Mapping[str, Placement],
    ranks: Ranks,
    event: Event,
    *,
    end_to_end: bool,
    live: bool = False,
) -> tuple[Prepared, dict[str, Placement]]:
    """Return the rows with what the reference says of them, and the models that are needed still.

    Args:
        plan: What to do.
        prepared: The rows.
        policy: The trained model, which without its adapters may be the reference.
        frozen: Other models, by role.
        ranks: This process among those of the run.
        event: Is told what is computed, and how far the work is.
        end_to_end: Whether the models read rows of several sequences.
        live: Whether models were brought along: what they say is not kept.
    """
    roles = {wanted.role for wanted in plan.recipe.method.passes.values() if wanted.fixed}
    if not _once(plan, prepared):
        return prepared, dict(frozen)
    lay = lay_of(plan, prepared.pad_id, end_to_end=end_to_end)
    lay = replace(lay, aside=0, shared=end_to_end)  # without noise all may share
    for role in sorted(roles):
        owner = frozen.get(role, policy)
        asked = _Asked(role=role, owner=owner, lay=lay, micro=plan.sizes.micro, event=event)

        def known(rows: Encoded, asked: _Asked = asked) -> Encoded:
            path = None if live else _path(plan, rows)
            kept = from_rank_zero(lambda: _read(path))
            said = _numbers(kept, rows)
            if said is None:
                said = asked.of(rows)
                if ranks.rank == 0 and path is not None:
                    _write(path, said, event)
            return replace(rows, columns={**rows.columns, f"{asked.role}_logp": said})

        held = prepared.validation
        train, validation = known(prepared.train), known(held) if held is not None else None
        prepared = replace(prepared, train=train, validation=validation)
    return prepared, {role: placed for role, placed in frozen.items() if role not in roles}


def _once(plan: Plan, prepared: Prepared) -> bool:
    """Return whether the reference is to answer once, and not in every step."""
    method, train = plan.recipe.method, plan.recipe.train
    if not isinstance(method, Referred) or prepared.stream is not None:
        return False
    if method.reference_once != "auto":
        return method.reference_once
    if train.max_steps is None:
        return train.epochs >= 1
    return train.max_steps * plan.sizes.batch >= len(prepared.train)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A model that is asked for the log-probabilities of rows."""

    role: str
    owner: Placement
    lay: Lay
    micro: int
    event: Event

    def of(self, rows: Encoded) -> NDArray[np.float64]:
        """Return the sum of log p over each sequence, [stored items, sides], in nats.

        Each data rank takes its share of the rows, longest first; a filler keeps them in step.
        """
        order = np.argsort(-rows.lengths, kind="stable").tolist()
        cut = [order[i : i + self.micro] for i in range(0, len(order), self.micro)]
        world, begun, told = self.owner.data_world, time.monotonic(), 0.0
        cut += [[] for _ in range(-len(cut) % world)]
        found = torch.zeros(len(rows), rows.sides, dtype=torch.float64)
        mine = cut[self.owner.data_rank :: world]
        for number, items in enumerate(mine):
            batch = collate(rows, items, self.lay)
            (out,) = self.owner.no_grad([batch], self.role, frozenset({"logp"}))
            sums_B = batch.rows.per_row(out.logp_N).double().cpu()
            found[items] = sums_B.reshape(rows.sides, len(items)).T
            if time.monotonic() - begun - told > _EVERY:
                told = time.monotonic() - begun
                share = (number + 1) / len(mine)
                self.event("note", text=f"the reference has answered {share:.0%} of the rows")
        device = str(out.logp_N.device)
        whole = self.owner.reduce(found.to(device).to(widest(device))).cpu().double().numpy()
        seconds = time.monotonic() - begun
        text = f"the reference answered {len(rows):,} rows once, in {seconds:.1f} s"
        self.event("reference", text=text, rows=len(rows), seconds=round(seconds, 2))
        return _stored(whole, rows)


def _stored(said: NDArray[np.float64], rows: Encoded) -> NDArray[np.float64]:
    """Return numbers of items at the places where the items are stored."""
    if rows.items is None:
        return said
    count = (len(rows.offsets) - 1) // rows.sides
    found = np.full((count, rows.sides), np.nan)
    found[rows.items] = said
    return found


def _path(plan: Plan, rows: Encoded) -> Path:
    """Return where the answers to these rows are kept, by content."""
    facts = plan.reference or plan.model
    folder = Path(facts.folder)
    files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS)
    quant = plan.recipe.quant.model_dump() if plan.recipe.quant is not None else None
    said = [
        *(rows.fingerprint(), rows.sides, stamp(files), facts.architecture, quant),
        *(plan.dtype, plan.attention, plan.device, torch.__version__, __version__),
    ]
    digest = hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:32]
    return cache_home() / "reference" / f"{digest}.npy"


def _read(path: Path | None) -> bytes:
    """Return what is kept; b"" for nothing that can be read."""
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""


def _numbers(kept: bytes, rows: Encoded) -> NDArray[np.float64] | None:
    """Return the answers of a file, [stored items, sides]; None if it does not hold those."""
    try:
        found: NDArray[np.float64] = np.load(io.BytesIO(kept), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None
    count = (len(rows.offsets) - 1) // rows.sides
    return found if found.shape == (count, rows.sides) and found.dtype == np.float64 else None


def _write(path: Path, said: NDArray[np.float64], event: Event) -> None:
    """Keep answers for later runs, if that is possible."""
    file = io.BytesIO()
    np.save(file, said, allow_pickle=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, file.getvalue())
    except (OSError, SwiftError) as error:
        event("warning", text=f"the reference's answers are not kept for later runs: {error}")
