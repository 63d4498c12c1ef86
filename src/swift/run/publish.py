"""Which files of a run, a model or a data set go up to a hub, and as what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from swift import __version__
from swift.checkpoint import CARD as SWIFT
from swift.checkpoint import Card, checkpoints, newest, read_card
from swift.core.errors import DataError, PlanError, Problem, UserError
from swift.core.files import path_of, size_words
from swift.dataset.names import refs_of as data_refs_of
from swift.dataset.raw import Raw
from swift.dataset.readers import Reader, reader_of, suffixes
from swift.hub.parcel import CARD, MARK, Bytes, Parcel, size_of
from swift.hub.ref import Ref
from swift.model.hubs import lacking
from swift.run.card import Base, Story, data_card, model_card
from swift.run.public import (
    base_of,
    json_of,
    may_go,
    path_in,
    public_card,
    read_json,
    without_paths,
)
from swift.run.story import losses_of, pipeline_of, scores_of

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.gguf")
_PICKLED = ("adapter_model.bin", "pytorch_model*.bin", "pytorch_model.bin.index.json")
_REST = """config.json generation_config.json adapter_config.json *processor_config.json
    tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json
    vocab.txt merges.txt *.model *.tiktoken *.jinja *.py modules.json configuration.json
    LICENSE* NOTICE* README.md""".split()
"""Of a model: what the ecosystem opens. Optimisers, states, logs, arguments stay at home."""

_CARDS = ("configuration.json", "dataset_info.json", "dataset_infos.json", "state.json")
"""Files that hubs put beside the rows of a data set."""

_COUNTED = 1 << 28
"""Bytes of a data set up to which its rows are counted."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What would go up."""

    parcel: Parcel
    folder: Path
    """Where its files are."""

    left_out: tuple[str, ...] = ()
    """Names in that folder that stay at home."""

    replaced: tuple[str, ...] = ()
    """Paths of this machine in whose place a bare name goes up."""

    notes: tuple[str, ...] = ()
    """What the user should know of it."""

    size: int = 0
    """Bytes of all files."""


@dataclass(kw_only=True)
class _Found:
    """A bundle in the making."""

    files: dict[str, Bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def bundle(
    source: str, ref: Ref, *, hub: str, kind: Literal["model", "dataset", ""] = ""
) -> Bundle:
    """Return what of `source` goes up to `ref`, with its page.

    Args:
        source: A run (its newest complete checkpoint), a checkpoint, a model's or an adapter's
            folder, or a data set's file or folder.
        ref: The repository and the branch; its kind is passed over.
        hub: huggingface, modelscope, or folder: how its page names other models.
        kind: What `source` is, where that is not plain.

    Raises:
        PlanError: There is no such thing, or it is not whole.
        UserError: It is not what `kind` says.
    """
    place = path_of(source)
    if place is None:
        what = f"there is no file and no folder `{source}`"
        raise PlanError(Problem(where="SOURCE", what=what, fix="`swift runs` lists the runs"))
    folder = newest(place) or place
    of_model = folder.is_dir() and any(
        (folder / n).is_file() for n in ("adapter_config.json", "config.json")
    )
    if not of_model:
        _no_run(place, kind)
    if kind == "dataset" or (not kind and not of_model):
        return _of_data(folder, replace(ref, kind="datasets"), source)
    if not of_model:
        what = f"{folder} is no model: it has no adapter_config.json and no config.json"
        raise PlanError(Problem(where="SOURCE", what=what, fix="give a run, a checkpoint, a model"))
    return _of_model(folder, replace(ref, kind="models"), hub)


def _no_run(place: Path, kind: str) -> None:
    """See that a folder without a model is no run: what it logs is not a data set.

    Raises:
        PlanError: It is one, or has some in it.
    """
    logs = ("plan.json", "events.jsonl")
    alone = not kind and any((place / name).is_file() for name in logs)
    inside = (p.parent for p in place.rglob(logs[0]) if (p.parent / logs[1]).is_file())
    run = place if alone else next(inside, None)
    if run is not None:
        what = (
            f"{run} is a run without a complete checkpoint" if run == place else f"{run} is a run"
        )
        fix = "train on: a checkpoint is what is pushed" if run == place else f"swift push {run} …"
        raise PlanError(Problem(where="SOURCE", what=what, fix=fix))


def _finished(found: _Found, folder: Path, ref: Ref, what: str) -> Bundle:
    parcel = Parcel(ref=ref, files=found.files, message=f"{what} (swift {__version__})")
    return Bundle(
        parcel=parcel,
        folder=folder,
        left_out=tuple(found.left_out),
        replaced=tuple(sorted(found.told)),
        notes=tuple(found.notes),
        size=sum(map(size_of, found.files.values())),
    )


# --- models -------------------------------------------------------------------------------------


def _of_model(folder: Path, ref: Ref, hub: str) -> Bundle:
    found = _Found()
    adapter = (folder / "adapter_config.json").is_file()
    _collect(folder, found)
    _whole(folder, adapter, found)
    config = read_json(folder / ("adapter_config.json" if adapter else "config.json"))
    card, origin = _card_of(folder)
    named = str(config.get("base_model_name_or_path" if adapter else "_name_or_path") or "")
    base = _base(card, named, hub)
    story = Story(
        id=ref.id,
        hub=hub,
        kind="adapter" if adapter else "whole",
        base=base,
        card=public_card(card, base, found.told) if card and base else None,
        pipeline=pipeline_of(Path(card.base) if card else None, folder)
        if adapter
        else pipeline_of(folder),
    )
    if card is not None and origin is not None:
        story = _told(story, card, origin, hub)
    _cleaned(folder, found, base, story.card, hub)
    if adapter and base is not None and not base.public and base.id != "nano":
        found.notes.append(
            f"its base `{base.id}` is a folder of this machine, which others do not have: "
            "`swift merge` makes a model that stands alone"
        )
    if CARD not in found.files:
        found.files[CARD] = model_card(story).encode()
    step = f"step {card.step} of {card.method}" if card else "model"
    return _finished(found, folder, ref, f"{'adapter' if adapter else 'model'}: {step}")


def _base(card: Card | None, named: str, hub: str) -> Base | None:
    if card is not None:
        return base_of([card.model, named], card.base, hub, card.revision)
    local = named if (here := path_of(named)) is not None and here.is_dir() else ""
    return base_of([named] if named else [], local, hub, "") if named else None


def _collect(folder: Path, found: _Found) -> None:
    """Take the files at the top that the ecosystem opens; pickled weights only without others."""
    names = sorted(p.name for p in folder.iterdir())
    safe = any(name.endswith((".safetensors", ".gguf")) for name in names)
    wanted = (*_WEIGHTS, *_REST, *(() if safe else _PICKLED))
    for name in names:
        path = folder / name
        if any(fnmatchcase(name, pattern) for pattern in wanted) and may_go(path, folder):
            found.files[name] = path
        elif name != SWIFT:
            found.left_out.append(name + ("/" if path.is_dir() else ""))
    card = found.files.get(CARD)
    if isinstance(card, Path) and MARK in card.read_text(encoding="utf-8", errors="replace"):
        del found.files[CARD]  # ours, of an earlier push: written anew


def _whole(folder: Path, adapter: bool, found: _Found) -> None:
    """See that all weights are there.

    Raises:
        PlanError: Some are missing; names them.
    """
    if adapter:
        weights = ("adapter_model.safetensors", "adapter_model.bin")
        missing = [] if any(name in found.files for name in weights) else [weights[0]]
    else:
        missing = [] if any(n.endswith(".gguf") for n in found.files) else lacking(folder)
    if missing:
        what = f"{folder} lacks {', '.join(missing[:3])}"
        raise PlanError(Problem(where="SOURCE", what=what, fix="push what is whole"))


def _card_of(folder: Path) -> tuple[Card | None, Path | None]:
    """Return swift.json and the run it is of; for `merged` beside checkpoints, the newest one's."""
    if (folder / SWIFT).is_file():
        return read_card(folder), folder.parent
    if folder.name == "merged" and (last := newest(folder.parent)) is not None:
        return read_card(last), folder.parent
    return None, None


def _told(story: Story, card: Card, run: Path, hub: str) -> Story:
    """Return the story with what the run's folder tells of the training."""
    datasets = [str(d.get("name", "")) for d in card.recipe.get("dataset") or []]
    refs = [data_refs_of(name.partition("#")[0]) for name in datasets if not path_in(name)]
    return replace(
        story,
        plan=read_json(run / "plan.json"),
        losses=losses_of(run / "events.jsonl", card.step),
        scores=scores_of(run, card.step, alone=len(checkpoints(run)) == 1),
        datasets=[r[hub].id for r in refs if hub in r],
    )


def _cleaned(folder: Path, found: _Found, base: Base | None, card: Card | None, hub: str) -> None:
    """Put in place of every configuration that names paths one that does not."""
    for name in [n for n in found.files if n.endswith("config.json")]:
        said = read_json(folder / name)
        clean: dict[str, Any] = said
        if name == "adapter_config.json" and base is not None:
            pinned = base.revision if base.public and hub == "huggingface" else None
            clean = {**said, "base_model_name_or_path": base.id}
            clean["revision"] = said.get("revision") or pinned or None
            before = str(said.get("base_model_name_or_path") or "")
            found.told |= {before} if before.startswith(("/", "~", ".")) else set()
        clean = without_paths(clean, found.told)
        if clean != said:
            text = json.dumps(clean, ensure_ascii=False, indent=2, sort_keys=True)
            found.files[name] = (text + "\n").encode()
    if card is not None and (folder / SWIFT).is_file():
        found.files[SWIFT] = json_of(card).encode()


# --- data sets ----------------------------------------------------------------------------------


def _of_data(place: Path, ref: Ref, source: str) -> Bundle:
    found = _Found()
    if place.is_file():
        found.files[place.name] = place
    else:
        for path in sorted(place.rglob("*")):
            inside = path.relative_to(place)
            if path.is_dir():
                continue
            if any(part.startswith(".") for part in inside.parts) or not may_go(path, place):
                found.left_out.append(inside.as_posix())
            else:
                found.files[inside.as_posix()] = path
    data = _with_rows(found.files)
    if not data:
        what = f"`{source}` is no run, no model and no data set ({', '.join(suffixes())})"
        raise UserError(Problem(where="SOURCE", what=what, fix="give one of these"))
    own = found.files.get(CARD)
    ours = isinstance(own, Path) and MARK in own.read_text(encoding="utf-8", errors="replace")
    if own is None or ours:
        found.files[CARD] = _data_page(ref, data, found.files).encode()
    return _finished(found, place, ref, "data set")


def _with_rows(files: Mapping[str, Bytes]) -> dict[str, Reader]:
    """Return the readers of the files that hold rows; plain text is data only without tables."""
    named = ((path, reader_of(Path(path))) for path in files if Path(path).name not in _CARDS)
    found = {path: reader for path, reader in named if reader is not None}
    tables = {path: reader for path, reader in found.items() if not reader.prose}
    return tables or found


def _data_page(ref: Ref, data: Mapping[str, Reader], files: Mapping[str, Bytes]) -> str:
    sizes = {name: size_of(files[name]) for name in data}
    columns: list[str] = []
    count = 0
    counted = sum(sizes.values()) <= _COUNTED
    for name, reader in data.items() if counted else ():
        for raw in _read(Path(str(files[name])), reader):
            if raw.row is None:
                what = f"{raw.origin} is no row ({raw.trouble})"
                raise DataError(Problem(where="SOURCE", what=what, fix="mend or remove it"))
            columns = columns or list(raw.row)
            count += 1
    words = {name: size_words(size) for name, size in sizes.items()}
    return data_card(ref.id, count if counted else None, columns, words)


def _read(path: Path, reader: Reader) -> Iterator[Raw]:
    try:
        yield from reader.read(path)
    except (OSError, UnicodeDecodeError) as error:
        what = f"{path} cannot be read: {error}"
        raise DataError(Problem(where="SOURCE", what=what, fix="mend or remove it")) from error
