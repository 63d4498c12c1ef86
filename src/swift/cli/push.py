"""`swift push`: put a run, a model or a data set on a hub."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.cli.flags import split
from swift.core.errors import Problem, UserError
from swift.core.files import size_words

if TYPE_CHECKING:
    from swift.hub.parcel import Pushed
    from swift.run.publish import Bundle

_HELP = """usage: swift push SOURCE OWNER/NAME [--hub HUB] [--private] [--revision BRANCH]
                  [--message TEXT] [--type model|dataset] [--dry_run]

Put a model or a data set on a hub, with a page (README.md) written from swift.json. SOURCE is a run
(its newest complete checkpoint), a checkpoint, an adapter's or a model's folder, or a data set's
file or folder. What the ecosystem opens goes up; optimiser states, logs and paths of this machine
do not. A README.md of your own is kept. All of it is one commit; what is up already is not sent
again, so a killed push goes on: run the same command again.

  --dry_run            say what would go up and print its page; nothing is asked of the network
  --hub HUB            huggingface, modelscope, or auto: SWIFT_HUB (a folder too), else the hub that
                       there is a token for
  --private            a repository that is made for it is private; else everybody sees it
  --revision BRANCH    = main (Hugging Face, where it is made if it is not there), master
  --message TEXT       of the commit
  --type KIND          model or dataset, where SOURCE could be either
  --token TOKEN        others may read it in the list of processes: better HF_TOKEN,
                       `hf auth login`; MODELSCOPE_API_TOKEN, `modelscope login`"""

_OWN = ("hub", "revision", "message", "type", "token")
_ALONE = frozenset({"help", "dry_run", "private"})


def main(verb: str, words: list[str]) -> int:
    """Push, and print where it is.

    Raises:
        SwiftError: It cannot be pushed; nothing of it is seen on the hub.
    """
    line = split(words, alone=_ALONE, many=lambda name: False)
    said: dict[str, Any] = {}
    for name in (*_ALONE, *_OWN):
        said[name], line = line.pick(name)
    if said["help"]:
        print(_HELP)
        return 0
    _check(verb, line.files, [name for name, _ in line.flags], said)
    source, name = line.files
    ref = import_module("swift.hub.ref").Ref(id=name, revision=str(said["revision"] or ""))
    hub, token = str(said["hub"] or "auto"), str(said["token"] or "")
    where = import_module("swift.hub.push").destination(hub, token, dry=bool(said["dry_run"]))
    kind = "folder" if isinstance(where, Path) else where.name
    bundle = import_module("swift.run.publish").bundle(
        source, ref, hub=kind, kind=str(said["type"] or "")
    )
    _announce(bundle, str(where) if kind == "folder" else where.endpoint, bool(said["private"]))
    if said["dry_run"]:
        page = bundle.parcel.files["README.md"]
        print(page.decode() if isinstance(page, bytes) else page.read_text(encoding="utf-8"))
        return 0
    parcel = replace(bundle.parcel, private=bool(said["private"]))
    parcel = replace(parcel, message=str(said["message"] or parcel.message))
    pushed = import_module("swift.hub.push").push(parcel, hub=hub, token=token)
    _report(pushed)
    print(pushed.url)
    return 0


def _check(verb: str, files: tuple[str, ...], unknown: list[str], said: dict[str, Any]) -> None:
    """Raise one error with all that is wrong with the words."""
    problems = [
        Problem(where=f"--{name}", what="it has no value", fix=f"--{name} VALUE")
        for name in _OWN
        if said[name] is True
    ]
    problems += [
        Problem(what=f"`swift {verb}` has no flag `--{name}`", fix=f"swift {verb} --help")
        for name in unknown
    ]
    if len(files) != 2:
        what = f"give a source and a name, not {len(files)} words"
        problems.append(Problem(what=what, fix="swift push runs/NAME OWNER/NAME"))
    elif "/" not in files[1]:
        what = f"`{files[1]}` names no owner"
        problems.append(Problem(what=what, fix=f"OWNER/{files[1]}, OWNER being you on the hub"))
    if said["type"] not in (None, True, "model", "dataset"):
        what = f"`{said['type']}` is no type"
        problems.append(Problem(where="--type", what=what, fix="model or dataset"))
    if problems:
        raise UserError(problems)


def _announce(bundle: Bundle, where: str, private: bool) -> None:
    """Say what goes up, what stays, and what was replaced."""
    parcel = bundle.parcel
    seen = ", private" if private else ", public if it is new" if "://" in where else ""
    what = f"{len(parcel.files)} files, {size_words(bundle.size)}"
    lines = [f"{parcel.ref.kind[:-1]} {parcel.ref} at {where}{seen}: {what}"]
    lines += ["  from " + str(bundle.folder), "  " + "  ".join(parcel.files)]
    if bundle.left_out:
        lines.append("  stays here: " + "  ".join(bundle.left_out))
    lines += [f"  a path of this machine goes as a bare name: {path}" for path in bundle.replaced]
    lines += [f"  note: {note}" for note in bundle.notes]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _report(pushed: Pushed) -> None:
    """Say what was done."""
    at = f" as commit {pushed.commit}" if pushed.commit else ""
    lines = [f"sent {len(pushed.sent)} files{at}" if pushed.sent else "all of it is there already"]
    if pushed.same and pushed.sent:
        lines.append(f"  {len(pushed.same)} were there already")
    lines += [f"  {path} stays as it is there: another wrote it" for path in pushed.kept]
    print("\n".join(lines), file=sys.stderr)
