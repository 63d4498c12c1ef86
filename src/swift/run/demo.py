"""The journey on the embedded model: model, data, score, fine-tuning, score, merge, API, request.

Each stage leaves its result as a small JSON file beside the others, so that a journey that was
stopped, or killed, goes on where it was; the last two are done every time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from swift import __version__
from swift.checkpoint import newest, served
from swift.core.env import cache_home, language
from swift.core.errors import PlanError, Problem
from swift.core.events import read_events
from swift.core.files import cannot_write, locked, probe, write_text
from swift.dataset.generated import samples
from swift.dataset.generated.orders import TRAIN_ROWS
from swift.engine import Sampling, engines
from swift.model.facts import read_facts
from swift.model.find import EMBEDDED, find_model
from swift.recipe import read
from swift.recipe.shipped import shipped
from swift.run.evaluate import evaluate
from swift.run.export import merge
from swift.run.folder import finished
from swift.run.launch import launch
from swift.run.server import ask, serving
from swift.score.exact_match import ExactMatch, same_json

Found: TypeAlias = dict[str, Any]
"""What a stage found, as JSON has it. `where`: what it made."""

KINDS = ("combo", "new", "pseudo")
"""Held-out rows: known words in unseen combinations, new words, made-up words."""

STAGES = ("model", "data", "before", "sft", "after", "merge", "serve", "ask")
_HELD_OUT_SEED = 8
_NEW_TOKENS = 72


@dataclass(frozen=True, kw_only=True)
class Trip:
    """What is asked for."""

    folder: Path
    """Where everything goes; the run is in sft/, the merged model in merged/."""

    rows: int = 40
    """Held-out rows of each kind that are scored."""

    max_steps: int | None = None
    """Optimiser steps of the training; None: as the recipe says."""

    keep: bool = False
    """Whether the server goes on at the end."""

    @property
    def sft(self) -> Path:
        """The run folder."""
        return self.folder / "sft"

    @property
    def merged(self) -> Path:
        """The merged model."""
        return self.folder / "merged"

    def fingerprint(self) -> str:
        """Return what the results depend on, as a digest."""
        recipe = shipped("nano-orders").read_text(encoding="utf-8")
        said = json.dumps([__version__, recipe, self.rows, self.max_steps])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


class Show(Protocol):
    """Sees the journey as it goes."""

    def begin(self, stage: str) -> None:
        """A stage begins."""

    def progress(self, done: int, total: int) -> None:
        """So much of the stage is done."""

    def end(self, stage: str, found: Found, *, before: bool) -> None:
        """A stage is done; `before`: by an earlier journey."""


def travel(trip: Trip, show: Show) -> Mapping[str, Found]:
    """Make the journey and return what each stage found.

    Raises:
        PlanError: The folder holds a journey with other options, or other files.
        MachineError: It cannot be written, another journey is under way in it, or the server
            failed.
        Interrupted: A signal asked for the end; the work is saved.
    """
    found: dict[str, Found] = {}
    _claim(trip)
    with locked(trip.folder / ".lock"):
        for left in trip.folder.glob(".aside-*.json-*"):  # half a result of a killed journey
            left.unlink()
        stages = {
            "model": _model,
            "data": _data,
            "before": lambda t, s: _score(EMBEDDED, t, s),
            "sft": _sft,
            "after": lambda t, s: _score(str(t.sft), t, s),
            "merge": _merge,
        }
        known = True
        for stage, work in stages.items():
            path = trip.folder / f"{stage}.json"
            old = _read(path) if known else None
            known = old is not None
            if old is None:
                show.begin(stage)
                old = work(trip, show)
                write_text(path, json.dumps(old, ensure_ascii=False, indent=1))
            show.end(stage, old, before=known)
            found[stage] = old
        _serve_and_ask(trip, show, found)
    return found


def _claim(trip: Trip) -> None:
    """Take the folder, or go on in one that holds this very journey."""
    card = trip.folder / "demo.json"
    mine = {"fingerprint": trip.fingerprint()}
    if trip.folder.is_dir() and any(p.name[0] != "." for p in trip.folder.iterdir()):
        said = _read(card)
        if said is None or said.get("fingerprint") != mine["fingerprint"]:
            why = "a journey with other options" if said else "other files"
            what = f"{trip.folder} holds {why}; nothing is overwritten"
            fix = "give another folder with --run, or remove that one"
            raise PlanError(Problem(where="--run", what=what, fix=fix))
        return
    try:
        trip.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(trip.folder, error) from error
    probe(trip.folder)
    write_text(card, json.dumps(mine))


def _read(path: Path) -> Found | None:
    """Return what an earlier journey found; None if it did not, or what it made is gone."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    made = found.get("made")
    return found if made is None or Path(made).exists() else None


def _model(trip: Trip, show: Show) -> Found:
    folder = find_model(EMBEDDED, cache_home())
    return {"weights": read_facts(EMBEDDED, folder).parameters, "made": str(folder)}


def _data(trip: Trip, show: Show) -> Found:
    return {"rows": TRAIN_ROWS, "held": trip.rows * len(KINDS), "name": "nano-orders"}


def _score(id: str, trip: Trip, show: Show) -> Found:
    """Return the shares of held-out orders that are answered exactly, greedily."""
    _one_thread()
    engine = engines.get("torch")().open(served(id))
    greedy = Sampling(temperature=0.0, max_tokens=_NEW_TOKENS)
    equal = ExactMatch(normal="json")
    shares: dict[str, float] = {}
    try:
        for number, kind in enumerate(KINDS):
            show.progress(number, len(KINDS))
            rows = islice(held_out(kind), trip.rows)
            shares[kind] = evaluate(engine, rows, equal, sampling=greedy).share
        show.progress(len(KINDS), len(KINDS))
    finally:
        engine.close()
    return {"share": sum(shares.values()) / len(shares), "kinds": shares}


def _one_thread() -> None:
    """Compute on one core: nano is so small that on a busy machine two would wait for each other.

    And one gives the same numbers wherever it is tried.
    """
    import torch

    torch.set_num_threads(1)


def held_out(kind: str) -> Any:
    """Yield the held-out rows of a kind."""
    return samples("orders", kind, _HELD_OUT_SEED)


def _sft(trip: Trip, show: Show) -> Found:
    """Train, or go on with a training that was stopped."""
    if not (trip.sft / "plan.json").is_file():
        shutil.rmtree(trip.sft, ignore_errors=True)  # killed before it knew what it was
    flags: list[tuple[str, Any]] = [("output_dir", str(trip.sft)), ("train.save_every", 100)]
    if trip.max_steps is not None:
        flags.append(("train.max_steps", trip.max_steps))
    if not finished(trip.sft):
        _one_thread()
        launch(read(shipped("nano-orders"), flags))
    checkpoint = newest(trip.sft)
    assert checkpoint is not None
    steps = [e for e in read_events(trip.sft / "events.jsonl") if e["event"] == "step"]
    return {
        "first": steps[0]["loss"],
        "last": steps[-1]["loss"],
        "steps": steps[-1]["step"],
        "seconds": sum(e["seconds"] for e in steps),
        "made": str(checkpoint),
    }


def _merge(trip: Trip, show: Show) -> Found:
    """Merge the adapter into its base; a merge from before that fell out of step goes."""
    shutil.rmtree(trip.merged, ignore_errors=True)
    merge(str(trip.sft), trip.merged)
    size = sum(path.stat().st_size for path in trip.merged.rglob("*") if path.is_file())
    return {"megabytes": size / 1e6, "made": str(trip.merged)}


def _serve_and_ask(trip: Trip, show: Show, found: dict[str, Found]) -> None:
    show.begin("serve")
    begin = time.monotonic()
    with serving(str(trip.merged), trip.folder, keep=trip.keep) as server:
        ready = {"seconds": time.monotonic() - begin, "url": server.url, "pid": server.pid}
        show.end("serve", ready, before=False)
        show.begin("ask")
        answered = _ask(server.url)
        show.end("ask", answered, before=False)
    found |= {"serve": ready, "ask": answered}
    write_text(trip.folder / "ask.json", json.dumps(answered, ensure_ascii=False, indent=1))


def _ask(url: str) -> Found:
    """Ask one held-out order, in the user's language, and judge the answer."""
    chinese = language() == "zh"
    rows = (row["messages"] for row in held_out("combo"))
    question, truth = next(r for r in rows if r[0]["content"].isascii() != chinese)
    body = {"messages": [question], "temperature": 0, "max_tokens": _NEW_TOKENS}
    begin = time.monotonic()
    answer = ask(f"{url}/v1/chat/completions", body)
    seconds = time.monotonic() - begin
    try:
        text = str(answer["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        text = json.dumps(answer)
    return {
        "text": question["content"],
        "answer": text,
        "truth": truth["content"],
        "right": same_json(text, truth["content"]),
        "milliseconds": 1000 * seconds,
        "url": f"{url}/v1/chat/completions",
    }
