"""A checkpoint: a folder that is enough by itself, seen whole or not at all.

checkpoint-N/
  adapter_model.safetensors …   or model.safetensors …: the ecosystem's layout
  tokenizer.json, chat_template.jinja, …: the base model's own files
  swift.json                    base, recipe, step, digests
  state/rank-K.safetensors      weights, optimiser, generators: rank K's pieces
  state/rank-K.json             name -> shape and offset of each piece
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.env import cache_home
from swift.core.errors import PlanError, Problem
from swift.core.files import path_of
from swift.core.plugins import Used, load_again
from swift.core.schema import Value
from swift.engine import Served
from swift.model.allowed import Code
from swift.model.facts import read_facts
from swift.model.find import find_model
from swift.model.score import adds_score, is_scorer
from swift.model.voice import template_of

if TYPE_CHECKING:
    from torch import Tensor

    from swift.parallel import Piece

CARD = "swift.json"
_NAME = re.compile(r"checkpoint-(\d+)")


class Card(Value):
    """What swift.json says."""

    swift: str
    """Version that wrote it."""

    step: int
    """Optimiser steps done."""

    total_steps: int
    """Steps of the whole run."""

    model: str
    """The base model as the user named it."""

    base: str
    """The base model's folder."""

    revision: str = ""
    """The commit of that folder, where it is a hub's; "" where it is not."""

    code: Code | None = None
    """The base's own code that was run; it is not run again unless that is allowed again."""

    method: str
    """What was minimised."""

    tuner: dict[str, Any]
    """The tuner with its options."""

    template: str
    """Fingerprint of the chat template."""

    ends: tuple[int, ...] = ()
    """Tokens that end an answer, besides those that the base's own files name."""

    data: str
    """Fingerprint of the encoded rows, in order."""

    stream: dict[str, int] | None = None
    """Where the rows of a stream stood."""

    plan: str
    """Digest of the plan."""

    plugins: tuple[Used, ...] = ()
    """The code of others that it was made with."""

    world: int
    """Ranks that wrote `state/`."""

    recipe: dict[str, Any]
    """What the user said."""


def checkpoints(run: Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    found = [
        (int(m.group(1)), p)
        for p in run.glob("checkpoint-*")
        if (m := _NAME.fullmatch(p.name)) and (p / CARD).is_file()
    ]
    return [p for _, p in sorted(found)]


def newest(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run folder, or None."""
    found = checkpoints(run)
    return found[-1] if found else None


def read_card(folder: Path) -> Card:
    """Return what the checkpoint's swift.json says.

    Raises:
        PlanError: It is missing or broken.
    """
    try:
        return Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(
            Problem(where=str(folder / CARD), what=f"not a checkpoint's card: {error}")
        ) from error


def served(
    id: str,
    adapter: str | None = None,
    *,
    hub: str = "auto",
    revision: str = "",
    template: str = "auto",
    trust: bool = False,
) -> Served:
    """Return what an engine needs to open `id`: a model, a run, a checkpoint or a PEFT adapter.

    Args:
        id: Name or folder of a model or an adapter; a run folder stands for its newest complete
            checkpoint.
        adapter: Folder, run or hub's name of an adapter to put on top of that model.
        hub: Where a model that is not here is fetched from.
        revision: Branch, tag or commit of it there.
        template: How its conversations are written: auto, a wire, or the path of a Jinja file.
        trust: Whether code in the model's folder may run, where nothing else computes it.

    Raises:
        PlanError: There is no such model, or the adapter's base cannot be found.
        UserError: A plug-in that it was made with is not here.
    """
    for named in (id, adapter):
        if named is not None:
            with_plugins(named)
    found = partial(find_model, cache=cache_home(), hub=hub, revision=revision, trust=trust)
    over = _place_of(id if adapter is None else adapter, hub, revision if adapter is None else "")
    if over is not None and (over / "adapter_config.json").is_file():
        base = _base_of(over, trust) if adapter is None else found(id)
        speech = over if (over / "tokenizer.json").is_file() else base
        named = template_of(id, speech, template)
        name = id if adapter is None else adapter
        return _served(name, base, speech, over.resolve(), named, trust)
    if adapter is not None:
        what = f"{adapter} is no adapter: it has no adapter_config.json"
        raise PlanError(
            Problem(
                where="adapter", what=what, fix="give a PEFT adapter's folder, or its hub's name"
            )
        )
    folder = found(id)
    return _served(id, folder, folder, None, template_of(id, folder, template), trust)


def _place_of(id: str, hub: str, revision: str) -> Path | None:
    """Return the folder that `id` is: a checkpoint, or an adapter that a hub has; None for none."""
    place = path_of(id)
    if place is not None or "/" not in id:
        return place and (newest(place) or place)
    from swift.model.hubs import adapter_on_hubs  # names TLS and HTTP, which take a while

    found = adapter_on_hubs(id, hub=hub, revision=revision)
    if found is not None and (found / CARD).is_file():
        load_again(read_card(found).plugins, id)
    return found


def with_plugins(id: str) -> None:
    """Load the plug-ins that the run or checkpoint called `id` was made with; of others nothing.

    Raises:
        UserError: One of them is not here, or is code that the user never named.
    """
    place = path_of(id)
    folder = place and (newest(place) or place)
    if folder is not None and (folder / CARD).is_file():
        load_again(read_card(folder).plugins, str(folder))


def _served(
    id: str, base: Path, speech: Path, adapter: Path | None, template: str, trust: bool
) -> Served:
    facts = read_facts(id, base, trust=trust)
    place = Path(id).expanduser()
    name = id if not place.is_dir() else _called(place.resolve())
    return Served(
        id=name,
        folder=base,
        adapter=adapter,
        speech=speech.resolve(),
        template=template,
        trust=trust,
        scores=is_scorer(facts.architecture) or (adapter is not None and adds_score(adapter)),
        context=facts.context,
    )


def _called(folder: Path) -> str:
    """Return the name of a folder, or of the run that it is of: many are called `merged`."""
    of_a_run = folder.name == "merged" or _NAME.fullmatch(folder.name)
    return folder.parent.name if of_a_run else folder.name


def _base_of(adapter: Path, trust: bool) -> Path:
    """Return the folder of an adapter's base: where it was, or where its name leads now.

    A base that a hub has is wanted at the commit that the adapter names.
    """
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    named = str(config.get("base_model_name_or_path") or "")
    pinned = str(config.get("revision") or "")
    names = [named, *([read_card(adapter).model] if (adapter / CARD).is_file() else [])]
    problems: list[Problem] = []
    for name in filter(None, names):
        try:
            return find_model(name, cache_home(), revision=pinned, trust=trust)
        except PlanError as error:
            problems += error.problems
    what = f"{adapter} does not name its base model"
    raise PlanError(problems or [Problem(where=str(adapter), what=what, fix="give the base too")])


def drop_old(run: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints; each vanishes at once, by a rename."""
    for folder in checkpoints(run)[:-keep]:
        gone = folder.with_name(f".{folder.name}.dropped")
        folder.rename(gone)
        shutil.rmtree(gone)


# --- state: pieces of tensors ------------------------------------------------------------------


def write_state(folder: Path, rank: int, pieces: Iterable[Piece], more: dict[str, Any]) -> None:
    """Write this rank's pieces and plain values (generators) into `folder`/state."""
    from safetensors.torch import save_file

    state = folder / "state"
    state.mkdir(exist_ok=True)
    tensors: dict[str, Tensor] = {}
    index: dict[str, Any] = {}
    for piece in pieces:
        key = piece.name
        while key in tensors:  # another box of the same tensor
            key += "+"
        tensors[key] = piece.tensor.detach().cpu().contiguous()
        index[key] = {"shape": piece.shape, "offset": piece.offset}
    save_file(tensors, state / f"rank-{rank}.safetensors")
    text = json.dumps({"pieces": index, **more}, ensure_ascii=False)
    (state / f"rank-{rank}.json").write_text(text, encoding="utf-8")


class State:
    """Reads the state of any world: parts are put together from the pieces of all its ranks."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._files: list[Any] = []
        self._pieces: dict[str, list[tuple[int, str, Sequence[int]]]] = {}
        self.plain: list[dict[str, Any]] = []
        for path in sorted(folder.glob("state/rank-*.json"), key=lambda p: int(p.stem[5:])):
            plain = json.loads(path.read_text(encoding="utf-8"))
            for key, place in plain.pop("pieces").items():
                piece = (len(self._files), key, place["offset"])
                self._pieces.setdefault(key.rstrip("+"), []).append(piece)
            self._files.append(safe_open(path.with_suffix(".safetensors"), framework="pt"))
            self.plain.append(plain)

    def read(self, name: str, shape: tuple[int, ...], offset: tuple[int, ...]) -> Tensor:
        """Return the part of tensor `name` that begins at `offset`.

        Raises:
            PlanError: The state has no such tensor, or not all of it.
        """
        whole: Tensor | None = None
        held = 0
        for number, key, begin in self._pieces.get(name, []):
            tensor: Tensor = self._files[number].get_tensor(key)
            if tuple(begin) == offset and tuple(tensor.shape) == shape:
                return tensor
            if whole is None:
                whole = tensor.new_zeros(shape)
            held += _overlay(whole, offset, tensor, begin)
        if whole is None or held < whole.numel():
            part = "this tensor" if whole is None else "a part of this tensor"
            what = f"the checkpoint's state lacks {part}"
            fix = "resume with the recipe it was made by, and all files of `state/`"
            raise PlanError(Problem(where=name, what=what, fix=fix))
        return whole

    def starting(self, prefix: str) -> dict[str, Tensor]:
        """Return tensors that lie whole in one piece, by what follows `prefix` in their names."""
        return {
            name.removeprefix(prefix): self._files[pieces[0][0]].get_tensor(pieces[0][1])
            for name, pieces in self._pieces.items()
            if name.startswith(prefix)
        }


def _overlay(target: Tensor, at: Sequence[int], piece: Tensor, begin: Sequence[int]) -> int:
    """Copy what `piece` (at `begin`) and `target` (at `at`) share; return how many numbers."""
    into, out = [], []
    sizes = zip(at, target.shape, begin, piece.shape, strict=True)
    for a, a_size, b, b_size in sizes:
        low, high = max(a, b), min(a + a_size, b + b_size)
        if low >= high:
            return 0
        into.append(slice(low - a, high - a))
        out.append(slice(low - b, high - b))
    target[tuple(into)] = piece[tuple(out)]
    return piece[tuple(out)].numel()
