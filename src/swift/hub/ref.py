"""What a name means on a hub: its kind, its id, its revision; and what a revision holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from swift.core.errors import Problem, UserError
from swift.hub.local import Kind

_WORD = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]*[A-Za-z0-9_])?")
_LONGEST = 96
"""Letters of an owner or a name; a cache makes one folder's name of both."""

_LONGEST_REVISION = 200
_LONGEST_FILE = 255
"""Bytes of a file's name that file systems can hold."""

Check: TypeAlias = Literal["sha256", "git-sha1", ""]
"""How a file's bytes are checked: sha256 of them, git's sha1 of the blob; "": by size alone."""


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A model or a data set on a hub, at a revision."""

    kind: Kind = "models"
    id: str
    """`ORG/NAME`, or `NAME` alone where the hub knows such."""

    revision: str = ""
    """Branch, tag or commit; "" for the hub's main branch."""

    def __post_init__(self) -> None:
        parts = self.id.split("/")
        if len(parts) > 2 or not all(_WORD.fullmatch(p) and ".." not in p for p in parts):
            what = f"`{_short(self.id)}` is no name that a hub can have"
            raise UserError(Problem(where=self.kind[:-1], what=what, fix="write ORG/NAME"))
        if max(map(len, parts)) > _LONGEST:
            what = f"`{_short(self.id)}` is longer than any name that a hub can have"
            fix = f"write ORG/NAME, of at most {_LONGEST} letters each"
            raise UserError(Problem(where=self.kind[:-1], what=what, fix=fix))
        said = self.revision
        if len(said) > _LONGEST_REVISION:
            what = f"`{_short(said)}` is longer than any revision"
            raise UserError(Problem(where="revision", what=what, fix="a branch, a tag or a sha"))
        if said and (not _REVISION.fullmatch(said) or ".." in said or "//" in said):
            what = f"`{said}` is no revision that a hub can have"
            raise UserError(Problem(where="revision", what=what, fix="a branch, a tag or a sha"))

    @property
    def flat(self) -> str:
        """The id as both hubs' caches name its folder: `ORG--NAME`."""
        return self.id.replace("/", "--")

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}" if self.revision else self.id


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a revision."""

    path: str
    """Relative, with `/`; checked by `safe`."""

    size: int
    """Bytes."""

    check: Check
    digest: str
    """In hex, as `check` says; also the blob's name in a cache, and equal for equal bytes only."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a revision holds."""

    hub: str
    """"huggingface" or "modelscope"."""

    endpoint: str
    """Its address, without a path."""

    commit: str
    """Sha of the commit; "" where the hub does not tell."""

    revision: str
    """The branch, tag or sha that was asked for, with the hub's own default."""

    files: tuple[File, ...]
    address: Callable[[File], str] = field(repr=False)
    """Where a file's bytes are."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the hub's own host is sent, tokens included; another host never gets them."""


def safe(path: str) -> str:
    """Return a file's path within a repository.

    Raises:
        UserError: It leads out of the folder (`../`, `/etc`, a drive), is none, or is longer
            than a file's name can be.
    """
    parts = path.split("/")
    bad = any(p in ("", ".", "..") for p in parts) or "\\" in path or "\0" in path
    if bad or ":" in parts[0]:
        what = f"the hub names a file `{path}`, which leads out of the folder; nothing is fetched"
        raise UserError(Problem(where="hub", what=what, fix="do not trust this repository"))
    if any(len(p.encode("utf-8", "surrogatepass")) > _LONGEST_FILE for p in parts):
        what = f"the hub names a file `{_short(path)}`, longer than a file's name can be"
        raise UserError(Problem(where="hub", what=what, fix="its owner can give it another name"))
    return path


def _short(said: str) -> str:
    return said if len(said) <= _LONGEST else f"{said[:40]}…{said[-20:]}"


def apart(files: Sequence[File]) -> None:
    """See that no file is the folder of another one.

    Raises:
        UserError: Both cannot be laid side by side; names them.
    """
    paths = {file.path for file in files}
    for path in sorted(paths):
        over = next((str(p) for p in PurePosixPath(path).parents if str(p) in paths), None)
        if over is not None:
            what = f"the hub names a file `{over}` and in it a file `{_short(path)}`"
            fix = "do not trust this repository, or fetch one of them with --include"
            raise UserError(Problem(where="hub", what=f"{what}; nothing is fetched", fix=fix))


_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ckpt", ".gguf", ".onnx")
_FOREIGN = (".h5", ".msgpack", ".ckpt", ".onnx", ".ot", ".tflite", ".mlmodel")
"""Weights of other frameworks, which nothing here reads."""


def chosen(ref: Ref, files: Sequence[File], patterns: Sequence[str] | None) -> tuple[File, ...]:
    """Return the files to fetch: those that match a pattern or, without any, those of use.

    Of a data set that is every file; of a model what lies at its top, without weights of other
    frameworks and, where there are safetensors, without pickled weights.
    """
    if patterns:
        match = [f for f in files if any(fnmatchcase(f.path, _glob(p)) for p in patterns)]
        return tuple(match)
    files = [f for f in files if f.path != ".gitattributes"]
    if ref.kind == "datasets":
        return tuple(files)
    whole = any(f.path.endswith(".safetensors") and "/" not in f.path for f in files)
    pickled = (".bin", ".bin.index.json", ".pt", ".pth")
    left_out = _FOREIGN + (pickled if whole else ())
    return tuple(f for f in files if not _foreign(f.path, left_out))


def _foreign(path: str, endings: tuple[str, ...]) -> bool:
    inside = "/" in path and path.lower().endswith(_WEIGHTS)
    return inside or path.lower().endswith(endings)


def _glob(pattern: str) -> str:
    return pattern + "*" if pattern.endswith("/") else pattern
