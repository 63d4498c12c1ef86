"""Where fetched files lie: the caches of the hubs' own clients, or a folder the user names."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from swift.core.env import Hubs, cache_home
from swift.core.errors import MachineError, Problem
from swift.core.files import cannot_write, write_text
from swift.hub.ref import File, Listing, Ref
from swift.hub.stream import right

_SHA = 40
"""Hex digits of a commit."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A place for the files of one revision."""

    snapshot: Path
    """Folder in which the files have their own names."""

    blobs: Path
    """Folder in which a file is while it is fetched, and stays if `linked`."""

    linked: bool
    """Whether a name is a link to a blob (Hugging Face), or the file itself."""

    refs: Path | None
    """Folder that says which commit a branch is; None: nobody says."""

    lock: Callable[[File], Path]
    """Lock of a file; in caches the one that the hub's own client takes."""

    def blob(self, file: File) -> Path:
        """Return where a file is once it is fetched and checked."""
        if self.linked:
            return self.blobs / file.digest
        path = hashlib.sha256(file.path.encode()).hexdigest()[:8]  # equal files have two names
        return self.blobs / f"{file.digest}-{path}"

    def partial(self, file: File) -> Path:
        """Return where a file is while it is fetched; the name stands for its bytes."""
        blob = self.blob(file)
        return blob.with_name(f"{blob.name}.incomplete")

    def seen(self, file: File) -> Path:
        """Return where a file is for those who use it."""
        return self.snapshot / file.path

    def holds(self, file: File, *, deep: bool) -> bool:
        """Return whether a file is here, shown or not; `deep`: by its bytes, else by its size."""
        blob = self.blob(file)  # is gone once it is shown, unless there is a link to it
        return right(blob if blob.exists() else self.seen(file), file, deep=deep)

    def shows(self, file: File) -> bool:
        """Return whether a file has its name, and that is of this very file."""
        seen = self.seen(file)
        if self.linked and seen.is_symlink():
            return seen.readlink().name == file.digest and seen.exists()
        return not self.blob(file).exists() and right(seen, file, deep=False)

    def show(self, file: File) -> None:
        """Give a fetched file its name."""
        seen, blob = self.seen(file), self.blob(file)
        try:
            seen.parent.mkdir(parents=True, exist_ok=True)
            if not self.linked or not _link(blob, seen):
                with suppress(FileNotFoundError):  # another process was first
                    blob.replace(seen)
        except OSError as error:
            raise cannot_write(seen, error) from error

    def pin(self, listing: Listing) -> None:
        """Write down which commit the revision is."""
        if self.refs is None or not listing.commit or listing.revision == listing.commit:
            return
        ref = self.refs / listing.revision
        with suppress(OSError, UnicodeDecodeError):
            if ref.read_text(encoding="utf-8") == listing.commit:
                return
        try:
            ref.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(ref, error) from error
        write_text(ref, listing.commit)


def _link(blob: Path, seen: Path) -> bool:
    """Make `seen` a link to `blob`; False where the file system has no links."""
    aside = seen.with_name(f".{_digest(seen.name)[:16]}.{os.getpid()}")
    with suppress(FileNotFoundError):
        aside.unlink()
    try:
        aside.symlink_to(os.path.relpath(blob, seen.parent))
    except OSError:
        return False
    aside.replace(seen)
    return True


def of_listing(ref: Ref, listing: Listing, hubs: Hubs, to: Path | None) -> Shelf:
    """Return where the files of a revision go: the hub's cache, or the folder `to`."""
    if to is not None:
        locks = cache_home() / "locks"
        return Shelf(
            snapshot=to,
            blobs=to / ".incomplete",
            linked=False,
            refs=None,
            lock=lambda file: locks / _digest(str(to.absolute()), file.path),
        )
    home = _home(ref, listing.hub, hubs)
    if listing.hub == "huggingface":
        locks = hubs.huggingface_cache / ".locks" / home.name
        return Shelf(
            snapshot=home / "snapshots" / listing.commit,
            blobs=home / "blobs",
            linked=True,
            refs=home / "refs",
            lock=lambda file: locks / f"{file.digest}.lock",
        )
    locks = hubs.modelscope_cache / ".lock"
    key = ("modelscope-hub-download-lock-v2", "file", ref.kind[:-1], ref.id)
    return Shelf(
        snapshot=home / "snapshots" / listing.revision,
        blobs=home / ".incomplete",
        linked=False,
        refs=home / "refs",
        lock=lambda file: locks / f"file_{_digest(*key, file.path)}.lock",
    )


def held(ref: Ref, hub: str, hubs: Hubs) -> Path | None:
    """Return the folder that a hub's cache has for a revision, whole or not; None without one.

    It is found without the network, whoever fetched it.
    """
    home = _home(ref, hub, hubs)
    if hub == "huggingface":
        said = ref.revision or "main"
        sha = said if len(said) == _SHA else _read(home / "refs" / said)
        folders = [home / "snapshots" / sha] if sha else []
    else:
        names = [ref.revision] if ref.revision else ["master", "main"]
        folders = [home / "snapshots" / name for name in names]
        if not ref.revision:
            folders += _older(ref, hubs.modelscope_cache)
    return next((f for f in folders if f.is_dir() and any(f.iterdir())), None)


def commit_of(folder: Path) -> str:
    """Return the commit that a folder of a hub's cache holds; "" for any other folder."""
    if folder.parent.name != "snapshots":
        return ""
    if len(folder.name) == _SHA and not set(folder.name) - set("0123456789abcdef"):
        return folder.name
    return _read(folder.parent.parent / "refs" / folder.name)


def name_of(folder: Path) -> str:
    """Return the id of the repository whose folder in a hub's cache this is; "" for any other."""
    if folder.parent.name != "snapshots":
        return ""
    home = folder.parent.parent
    kind, _, rest = home.name.partition("--")
    flat = rest if kind in ("models", "datasets") else home.name
    known = kind in ("models", "datasets") or home.parent.name in ("models", "datasets")
    return flat.replace("--", "/", 1) if known else ""


def _home(ref: Ref, hub: str, hubs: Hubs) -> Path:
    if hub == "huggingface":
        return hubs.huggingface_cache / f"{ref.kind}--{ref.flat}"
    return hubs.modelscope_cache / ref.kind / ref.flat


def _older(ref: Ref, cache: Path) -> list[Path]:
    """Return where ModelScope's client put things before its version 1.38."""
    owner, _, name = ref.id.partition("/")
    flat = name.replace(".", "___")
    tops = (cache / ref.kind, cache / "hub" / ref.kind, cache / "hub")
    return [top / owner / flat for top in tops] if name else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


@contextmanager
def alone(path: Path, stop: Event, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path` within the block, waiting for other processes and threads.

    Args:
        path: The lock; it stays after the block.
        stop: Set to give up waiting.
        waiting: Called once if there is a wait.

    Raises:
        MachineError: The lock cannot be written, or `stop` was set.
    """
    number = -1
    told = False
    try:
        while number < 0:
            number = _take(path)
            if number < 0:
                if not told:
                    waiting()
                told = True
                if stop.wait(0.1):
                    raise MachineError(Problem(where=str(path), what="stopped"))
        yield
    finally:
        if number >= 0:
            os.close(number)


def _take(path: Path) -> int:
    """Return the descriptor of the lock that is now ours; -1 where it is another's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(number).st_ino == path.stat().st_ino:  # not removed while we took it
            return number
    except OSError:
        pass
    os.close(number)
    return -1
