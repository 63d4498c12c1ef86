"""Putting a model or a data set on a hub: only what it lacks, in one commit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from swift.core.env import Hubs, hub_root
from swift.core.env import hubs as hubs_of_environment
from swift.core.errors import Problem, UserError
from swift.hub.access import sound_token
from swift.hub.fetch import sites
from swift.hub.huggingface import HuggingFace
from swift.hub.modelscope import ModelScope
from swift.hub.parcel import CARD, MARK, Parcel, Pushed, is_same
from swift.hub.progress import Show, showing
from swift.hub.ref import File, Listing, Ref
from swift.hub.refusal import TOKENS, denied, unreached
from swift.hub.upload_folder import put
from swift.hub.upload_huggingface import Up as UpHuggingFace
from swift.hub.upload_modelscope import Up as UpModelScope
from swift.hub.web import Patience, Refused, Unreachable, Web, way

_PAGES = {"huggingface": "https://huggingface.co/settings/tokens (with the right to write)"}
_PAGES["modelscope"] = "https://modelscope.cn/my/myaccesstoken"

_BORN_WITH = {CARD, ".gitattributes", "configuration.json", "dataset_infos.json"}
"""Files that a repository may have before anybody commits to it."""

_BLANK = ("贡献者未提供更加详细的", "You are viewing the default Readme template")
"""What ModelScope writes into the card of a new repository."""


def push(
    parcel: Parcel,
    *,
    hub: str = "auto",
    token: str = "",
    show: Show | None = None,
    patience: Patience | None = None,
) -> Pushed:
    """Put a parcel's files into its repository, which is made where there is none.

    Bytes that the hub has are not sent again: neither files that are the same there, nor what a
    killed push brought up. Nothing is seen of it before the commit, which is the last thing done.

    Args:
        parcel: What and where to.
        hub: huggingface, modelscope, or auto: what SWIFT_HUB says (a folder too), else the hub
            that there is a token for.
        token: Instead of the one that the environment or the hub's own login has.
        show: Sees the progress; None: whoever `swift.hub.progress.showing` names.
        patience: How long to wait for a hub.

    Raises:
        UserError: There is no token, or the hub does not take it: says why.
        MachineError: The hub cannot be reached, or a folder cannot be written.
    """
    where = destination(hub, token)
    if isinstance(where, Path):
        return put(where, parcel)
    if not where.token:
        name = TOKENS[where.name]
        what, fix = f"{where.endpoint} wants a token", f"set {name}; {_PAGES[where.name]} gives one"
        raise UserError(Problem(where=where.name, what=what, fix=fix))
    web = way(patience)
    try:
        return _push(parcel, where, web, show or showing.get())
    except Refused as error:
        raise denied(where.name, where.endpoint, parcel.ref, error) from error
    except Unreachable as error:
        raise unreached(parcel.ref, error) from error


def destination(hub: str, token: str = "", *, dry: bool = False) -> HuggingFace | ModelScope | Path:
    """Return where a push goes: a hub with its token, or the folder that SWIFT_HUB names.

    `dry`: nothing will be sent, so the network need not be allowed.

    Raises:
        UserError: There is no hub of that name, its address or the token cannot be sent, or
            nothing may be asked of the network.
    """
    token = sound_token(token, "--token")
    hubs = hubs_of_environment()
    folder = hub_root()
    if folder is not None and hub == "auto":
        return folder
    asked = _by_token(hubs, token) if hub == "auto" else hub
    named = next(iter(sites(asked, hubs)))  # a mirror takes nothing
    if hubs.offline and not dry:
        what = "HF_HUB_OFFLINE is set, so nothing can be pushed"
        fix = "unset HF_HUB_OFFLINE, or SWIFT_HUB=file:///folder for a folder as a hub"
        raise UserError(Problem(where="hub", what=what, fix=fix))
    return replace(named, token=token) if token else named


def _by_token(hubs: Hubs, token: str) -> str:
    """Return the hub that is meant where none is named: the one that knows us."""
    if hubs.chosen != "auto":
        return hubs.chosen
    alone = hubs.modelscope_token and not hubs.huggingface_token
    return "modelscope" if alone and not token else "huggingface"


def _push(parcel: Parcel, site: HuggingFace | ModelScope, web: Web, show: Show) -> Pushed:
    up: UpHuggingFace | UpModelScope
    up = UpHuggingFace(site) if isinstance(site, HuggingFace) else UpModelScope(site)
    private = up.private(parcel.ref, web)
    if private is None:
        up.create(parcel, web)
    elif parcel.private and not private:
        what = f"{parcel.ref.id} is public already, and --private cannot hide it"
        fix = "give another name, or make it private on the hub first"
        raise UserError(Problem(where=site.name, what=what, fix=fix))
    listing = _held(site, parcel.ref, web)
    there = {file.path: file for file in listing.files} if listing else {}
    same = [p for p, f in parcel.files.items() if p in there and is_same(f, there[p])]
    kept = _kept(parcel, there, listing, web) if private is not None else ()
    rest = parcel.without([*same, *kept])
    commit = up.send(rest, web, show) if rest.files else ""
    return Pushed(
        url=up.page(parcel.ref),
        sent=tuple(rest.files),
        same=tuple(same),
        kept=kept,
        commit=commit,
    )


def _held(site: HuggingFace | ModelScope, ref: Ref, web: Web) -> Listing | None:
    """Return what a branch holds; None where it is not there yet."""
    try:
        return site.listing(ref, web)
    except Refused as error:
        if error.status == 404:
            return None
        raise


def _kept(
    parcel: Parcel, there: dict[str, File], listing: Listing | None, web: Web
) -> tuple[str, ...]:
    """Return the card, where ours would be written over one that another wrote up there."""
    ours = parcel.files.get(CARD)
    if listing is None or CARD not in there or not isinstance(ours, bytes):
        return ()
    if is_same(ours, there[CARD]) or MARK.encode() not in ours:
        return ()
    address = listing.address(there[CARD])
    with web.patiently(lambda: web.open(address, listing.headers)) as answer:
        text = answer.read(1 << 20).decode("utf-8", "replace")
    untouched = not there.keys() - _BORN_WITH and any(words in text for words in _BLANK)
    return () if MARK in text or untouched else (CARD,)
