"""Writing a checkpoint from all ranks, and setting a placement to one."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from swift import __version__
from swift.chat.source import choose
from swift.chat.tokenize import Tokenizer
from swift.checkpoint import CARD, Card, State, drop_old, write_state
from swift.core.errors import Problem, WriteError
from swift.core.files import sync_tree, usual_modes, write_text
from swift.hub.shelf import commit_of
from swift.model.quirks import made_of
from swift.model.score import fills_with
from swift.parallel import Piece
from swift.run.world import barrier
from swift.seam.device import generators, set_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swift.core.env import Ranks
    from swift.model.facts import ModelFacts
    from swift.parallel import Placement
    from swift.plan import Plan

COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
)
"""Files of the base model that a checkpoint takes along."""


def save(
    plan: Plan,
    placement: Placement,
    run: Path,
    ranks: Ranks,
    step: int,
    facts: dict[str, Any],
    beside: Sequence[Piece] = (),
) -> Path:
    """Write checkpoint-`step` aside, sync it, rename it. Collective.

    Args:
        plan: Says what the tuner is and how many checkpoints stay.
        placement: Whose weights and state are written.
        run: The run folder.
        ranks: This process.
        step: Optimiser steps done.
        facts: total_steps, template, ends, data: what the card says of the run.
        beside: What else this rank's state holds.
    """
    final = run / f"checkpoint-{step}"
    aside = run / f".checkpoint-{step}.partial"
    if ranks.rank == 0:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
    barrier()
    with _told(aside):
        _write(plan, placement, aside, ranks, step, facts, beside)
    if ranks.rank == 0:
        aside.rename(final)
        sync_tree(run, deep=False)
        drop_old(run, plan.recipe.train.keep)
    barrier()
    return final


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say of a disk that is full or gone what it kept from being written.

    Raises:
        WriteError: So it is; what is half-written is never taken for a checkpoint.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        what = f"the checkpoint cannot be written: {error}"
        fix = "make room on that disk; the run then goes on from the checkpoint before"
        raise WriteError(Problem(where=str(folder), what=what, fix=fix)) from error


def _write(
    plan: Plan,
    placement: Placement,
    aside: Path,
    ranks: Ranks,
    step: int,
    facts: dict[str, Any],
    beside: Sequence[Piece],
) -> None:
    """Write all files of a checkpoint into its folder."""
    pieces = [*placement.state(), *_generators(ranks.rank, plan.device), *beside]
    write_state(aside, ranks.rank, pieces, {"python": _python_generator()})
    tuner = plan.recipe.tuner
    weights = placement.weights(trained_only=tuner.adapters)
    if not tuner.adapters and plan.dtype in ("bfloat16", "float16"):
        # A whole model is kept as it will be used; `state/` holds what was trained, in float32.
        weights = ((name, w.to(getattr(torch, plan.dtype))) for name, w in weights)
    if ranks.rank == 0:
        tuner.save(weights, placement.model(), aside, plan.model.folder or plan.model.id)
        _companions(plan, aside, facts["ends"])
        if not plan.recipe.tuner.adapters:
            copy_code(plan.model, aside)
    else:
        for _ in weights:
            pass  # gathering a weight takes every rank
    barrier()
    if ranks.rank == 0:
        write_text(aside / CARD, _card(plan, step, facts).model_dump_json(indent=2) + "\n")
        usual_modes(aside)
        sync_tree(aside)


def _companions(plan: Plan, folder: Path, ends: Sequence[int]) -> None:
    """Copy the base's tokenizer, and the template that was trained with: ours reads it first."""
    base, named = plan.model.voice, plan.template
    for name in COMPANIONS:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    if plan.recipe.task != "text":
        write_text(folder / "chat_template.jinja", choose(base, named).source)
    if "score" in plan.recipe.method.needs:
        fills_with(folder, Tokenizer.load(base))
    elif ends:
        _let_end(folder / "generation_config.json", plan.model.voice, ends)


def _let_end(path: Path, base: Path, ends: Sequence[int]) -> None:
    """Add to generation_config.json what ends a trained answer: other programs stop there too."""
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known = Tokenizer.load(base).stop_ids
    said["eos_token_id"] = list(dict.fromkeys([*known, *ends]))
    write_text(path, json.dumps(said, indent=2) + "\n")


def copy_code(facts: ModelFacts, folder: Path) -> None:
    """Copy the code that computes a whole model beside it; it runs only where it is allowed."""
    for name in facts.code.files if facts.code else ():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(facts.folder) / name, folder / name)


def _card(plan: Plan, step: int, facts: dict[str, Any]) -> Card:
    folder = Path(plan.model.folder)
    return Card(
        swift=__version__,
        step=step,
        model=plan.model.id,
        base=plan.model.folder,
        revision=made_of(folder).get("commit") or commit_of(folder),
        code=plan.model.code,
        method=plan.recipe.method.name,
        tuner=plan.recipe.tuner.model_dump(mode="json"),
        plan=plan.digest,
        plugins=plan.plugins,
        world=plan.world,
        recipe=plan.recipe.full(),
        **facts,
    )


def restore(placement: Placement, checkpoint: Path, ranks: Ranks, device: str) -> None:
    """Set weights, optimiser, loss scale and generators to those of `checkpoint`.

    On the world that wrote it exactly; on another one the generators of new ranks start afresh.
    """
    state = State(checkpoint)
    placement.load(state.read)
    if ranks.rank < len(state.plain):
        version, numbers, gauss = state.plain[ranks.rank]["python"]
        random.setstate((version, tuple(numbers), gauss))
        for piece in _generators(ranks.rank, device):
            tensor = state.read(piece.name, piece.shape, piece.offset)
            set_generator(piece.name.split("/")[1], tensor)


def _generators(rank: int, device: str) -> list[Piece]:
    found = generators(device).items()
    return [Piece(f"generator/{kind}/{rank}", t, tuple(t.shape), (0,)) for kind, t in found]


def _python_generator() -> list[Any]:
    return json.loads(json.dumps(random.getstate()))  # type: ignore[no-any-return]


def size_of(placement: Placement, adapters: bool) -> int:
    """Return about how many bytes a checkpoint takes: weights, and twice float32 of the trained."""
    proof = placement.proof()
    whole = proof.trainable if adapters else proof.numel
    return 4 * whole + 3 * 4 * proof.trainable


def digest_of(checkpoint: Path) -> str:
    """Return the sha256 of all tensors and generators of a checkpoint, in order of file."""
    total = hashlib.sha256()
    for path in sorted(checkpoint.glob("**/*")):
        if path.suffix == ".safetensors" or path.parent.name == "state":
            total.update(path.read_bytes())
    return total.hexdigest()
