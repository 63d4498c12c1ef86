"""Fetching a model or a data set from a hub: whole, checked, and only what is missing."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from swift.core.env import Hubs
from swift.core.env import hubs as hubs_of_environment
from swift.core.errors import MachineError, Problem, UserError
from swift.core.files import free_bytes
from swift.hub import shelf as shelves
from swift.hub.access import sound_address, sound_token
from swift.hub.huggingface import HuggingFace
from swift.hub.modelscope import ModelScope
from swift.hub.progress import Progress, Show, Tally, showing
from swift.hub.ref import File, Listing, Ref, apart, chosen
from swift.hub.refusal import Answer, meaning
from swift.hub.shelf import Shelf, alone, held
from swift.hub.stream import bring
from swift.hub.web import Patience, Refused, Unreachable, Web, way

_AT_ONCE = 8
"""Files fetched at the same time."""

_SPARE = 1 << 28
"""Bytes that a disk keeps free after a download."""


_KNOCKS, _SILENCE = 2, 10.0
"""How often and how many seconds a list is waited for where no answer comes: others are asked."""


def fetch(
    ref: Ref | Mapping[str, Ref],
    *,
    hub: str = "auto",
    patterns: Sequence[str] | None = None,
    offline: bool = False,
    to: Path | None = None,
    deep: bool = False,
    show: Show | None = None,
    patience: Patience | None = None,
) -> Path:
    """Return the folder with the files of `ref`, fetched where they are missing.

    A killed download goes on at the byte where it ended; two processes fetch a file once; every
    fetched file is checked against the digest that the hub names.

    Args:
        ref: What to fetch; as a map, what it is called on each hub that has it.
        hub: huggingface (its mirrors included), modelscope, or auto: what SWIFT_HUB says, else
            Hugging Face, then ModelScope.
        patterns: Which files, as in a shell (`*` matches `/` too); None: those of use, see
            `swift.hub.ref.chosen`.
        offline: Ask nothing of the network, as with HF_HUB_OFFLINE=1.
        to: A folder to put the files into, instead of the hub's cache.
        deep: Read again what is here, and fetch what is corrupt.
        show: Called with the progress, from several threads, one at a time; None: whoever
            `swift.hub.progress.showing` names.
        patience: How long to wait for a hub.

    Raises:
        UserError: No hub has it or may give it to us; each says why.
        MachineError: No hub can be reached, the disk is too small, the bytes are wrong.
    """
    hubs = hubs_of_environment()
    if offline or hubs.offline:
        return _kept(ref, hub, hubs)
    web = way(patience)
    hurried = replace(
        web,
        patience=replace(web.patience, knocks=_KNOCKS, silence=min(web.patience.silence, _SILENCE)),
    )
    answers: list[Answer] = []
    for site in sites(hub, hubs):
        here = ref if isinstance(ref, Ref) else ref.get(site.name)
        if here is None:
            continue
        try:
            listing = site.listing(here, hurried)
            return _fetch(here, listing, hubs, patterns, to, deep, web, show or showing.get())
        except (Refused, Unreachable) as error:
            answers.append(Answer(hub=site.name, endpoint=site.endpoint, ref=here, error=error))
    if not answers:
        what = f"{_named(ref)} is not on {hub}"
        raise UserError(Problem(where="hub", what=what, fix="hub: auto"))
    raise meaning(answers)


def sites(hub: str, hubs: Hubs) -> list[HuggingFace | ModelScope]:
    """Return the hubs to ask, in order; a token goes to hubs that the user named alone.

    Raises:
        UserError: There is no hub of that name, or its address or token cannot be sent.
    """
    named = hubs.chosen if hub == "auto" else hub
    if named not in ("auto", "huggingface", "modelscope"):
        what, fix = f"there is no hub `{hub}`", "one of auto, huggingface, modelscope"
        raise UserError(Problem(where="hub", what=what, fix=fix))
    first = _huggingface(hubs) if named != "modelscope" else []
    return [*first, *([_modelscope(hubs)] if named != "huggingface" else [])]


def _huggingface(hubs: Hubs) -> list[HuggingFace]:
    token = sound_token(hubs.huggingface_token, hubs.huggingface_token_in)
    addresses = [sound_address(e, "HF_ENDPOINT") for e in hubs.huggingface]
    return [HuggingFace(endpoint=e, token="" if e in hubs.strangers else token) for e in addresses]


def _modelscope(hubs: Hubs) -> ModelScope:
    token = sound_token(hubs.modelscope_token, hubs.modelscope_token_in)
    return ModelScope(endpoint=sound_address(hubs.modelscope, "MODELSCOPE_ENDPOINT"), token=token)


def cached(ref: Ref | Mapping[str, Ref], hub: str = "auto") -> list[Path]:
    """Return the folders that the hubs' caches have for a revision, whole or not, best first."""
    hubs = hubs_of_environment()
    named = hubs.chosen if hub == "auto" else hub
    order = ("huggingface", "modelscope") if named == "auto" else (named,)
    refs = dict.fromkeys(order, ref) if isinstance(ref, Ref) else ref
    known = ((refs[name], name) for name in order if name in refs)
    return [folder for here, name in known if (folder := held(here, name, hubs)) is not None]


def _named(ref: Ref | Mapping[str, Ref]) -> Ref:
    return ref if isinstance(ref, Ref) else next(iter(ref.values()))


def _kept(refs: Ref | Mapping[str, Ref], hub: str, hubs: Hubs) -> Path:
    for folder in cached(refs, hub):
        return folder
    ref = _named(refs)
    places = f"{hubs.huggingface_cache} and {hubs.modelscope_cache}"
    what = f"{ref} is not on this machine (looked into {places}), and HF_HUB_OFFLINE is set"
    flag = " --dataset" if ref.kind == "datasets" else ""
    fix = f"swift download{flag} {ref.id} where there is a network, or unset HF_HUB_OFFLINE"
    raise UserError(Problem(where=ref.kind[:-1], what=what, fix=fix))


def _fetch(
    ref: Ref,
    listing: Listing,
    hubs: Hubs,
    patterns: Sequence[str] | None,
    to: Path | None,
    deep: bool,
    web: Web,
    show: Show,
) -> Path:
    files = _wanted(ref, listing, patterns)
    shelf = shelves.of_listing(ref, listing, hubs, to)
    missing = [f for f in files if not shelf.holds(f, deep=deep)]
    here = sum(_size(shelf.partial(f)) for f in missing)
    need = sum(f.size for f in missing)
    if missing:
        _room(shelf, need - here)
        progress = Progress(
            id=str(ref),
            source=urlsplit(listing.endpoint).netloc,
            total=need,
            files=len(missing),
            into=str(shelf.snapshot),
        )
        tally = Tally(progress, show)
        try:
            _together(missing, lambda f: _one(f, shelf, listing, deep, web, tally), web)
        finally:
            tally.end()
    for file in sorted(files, key=lambda f: f.path == "config.json"):  # a sign that all is there
        if not shelf.shows(file):
            shelf.show(file)
    shelf.pin(listing)
    if not shelf.linked:
        with suppress(OSError):
            shelf.blobs.rmdir()
    return shelf.snapshot


def _wanted(ref: Ref, listing: Listing, patterns: Sequence[str] | None) -> tuple[File, ...]:
    files = chosen(ref, listing.files, patterns)
    if not files:
        names = ", ".join(f.path for f in listing.files[:8]) or "none at all"
        said = " ".join(patterns or ())
        what = f"no file of {ref} matches {said}" if said else f"{ref} has no files"
        raise UserError(Problem(where=listing.hub, what=what, fix=f"its files: {names}"))
    apart(files)
    return files


def _one(file: File, shelf: Shelf, listing: Listing, deep: bool, web: Web, tally: Tally) -> None:
    """Fetch one file, unless another process has done it while we waited for its lock."""
    wait = f"{file.path}: another process is fetching it; waiting"
    with alone(shelf.lock(file), web.stop, lambda: tally.note(wait)):
        if shelf.holds(file, deep=deep):
            tally.add(file.size)
            return
        partial = shelf.partial(file)
        bring(file, listing.address(file), listing.headers, partial, web, tally)
        partial.replace(shelf.blob(file))


def _together(files: Sequence[File], act: Callable[[File], None], web: Web) -> None:
    """Do `act` for each file, several at a time, the largest first; the first failure ends all.

    The threads are daemons: after Ctrl-C nobody waits for a hub that is silent, and what they
    have written stays.
    """
    todo: queue.SimpleQueue[File] = queue.SimpleQueue()
    for file in sorted(files, key=lambda f: -f.size):
        todo.put(file)
    failures: list[BaseException] = []

    def work() -> None:
        with suppress(queue.Empty):
            while not web.stop.is_set():
                file = todo.get_nowait()
                try:
                    act(file)
                except BaseException as error:
                    failures.append(error)
                    web.stop.set()

    threads = [Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(files)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    except BaseException:
        web.stop.set()
        time.sleep(0.2)
        raise
    if failures:
        web.stop.clear()  # the next hub may be asked
        raise failures[0]


def _room(shelf: Shelf, need: int) -> None:
    free = free_bytes(shelf.snapshot)
    if need + _SPARE > free and need > 0:
        what = (
            f"the download needs {need / 2**30:.1f} GiB, but the disk of {shelf.snapshot} has "
            f"{free / 2**30:.1f} GiB free"
        )
        fix = "free some space, or HF_HOME / MODELSCOPE_CACHE / --to on another disk"
        raise MachineError(Problem(where="disk", what=what, fix=fix))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
