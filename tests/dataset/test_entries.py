"""Whatever stands where kept tokens should, or cannot be written, costs no run its tokens."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swift.core import files
from swift.core.errors import WriteError
from swift.dataset import cache, entries
from swift.dataset.cache import Kept, kept
from swift.dataset.encoded import Store
from tests.dataset.test_cache import SAID, block, filled


def entry(home: Path, said: list[str] | None = None, key: str = "k") -> Kept:
    return kept(home, key, 1, filled, (said if said is not None else []).append)


def plain_file(home: Path) -> None:
    home.mkdir()
    (home / "k").write_text("not a folder")


def empty_folder(home: Path) -> None:
    (home / "k").mkdir(parents=True)


def dead_link(home: Path) -> None:
    home.mkdir()
    (home / "k").symlink_to(home / "nowhere")


def card_cut_short(home: Path) -> None:
    entry(home)
    card = home / "k" / entries.CARD
    card.write_bytes(card.read_bytes()[:-9])


def card_of_another_version(home: Path) -> None:
    entry(home)
    (home / "k" / entries.CARD).write_text('{"version": 0, "rows": []}')


def card_that_is_no_object(home: Path) -> None:
    entry(home)
    (home / "k" / entries.CARD).write_text("[1]")


def words_that_were_written_over(home: Path) -> None:
    entry(home)
    card = home / "k" / entries.CARD
    card.write_text(card.read_text().replace("three rows", "four rows!"))


ODD = [plain_file, empty_folder, dead_link, card_cut_short, card_of_another_version]
ODD += [card_that_is_no_object, words_that_were_written_over]


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_entry_is_made_anew_and_said_so(
    tmp_path: Path, odd: Callable[[Path], None]
) -> None:
    home, said = tmp_path / "home", list[str]()
    odd(home)
    assert entry(home, said).made
    assert said == [f"the tokens kept in {home / 'k'} are not what was written: they are made anew"]
    found = entry(home, said)
    assert (found.made, found.said, len(said)) == (False, SAID, 1)


def test_parts_that_are_plain_files_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / f".aside-k-{os.getpid()}").write_text("")
    (tmp_path / ".aside-k-1").write_text("")
    said: list[str] = []
    assert (entry(tmp_path, said).made, said) == (True, [])
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_what_cannot_be_removed_is_an_error_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_file(home := tmp_path / "home")

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patched, pytest.raises(WriteError, match="not permitted"):
        patched.setattr(Path, "unlink", refused)
        entry(home)
    assert (home / "k").read_text() == "not a folder"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_no_part(tmp_path: Path) -> None:
    def large(folder: Path) -> cache.Said:
        (folder / "ids.bin").write_bytes(b"1" * 9000)
        return []

    with files_of_at_most(5000), pytest.raises(WriteError, match="File too large"):
        kept(tmp_path, "k", 1, large, lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["k.lock"]
    assert entry(tmp_path).made


@pytest.mark.parametrize("when", ["add", "sync_tree", "write_text"])
def test_no_space_at_any_moment_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(WriteError, match="free some space"):
        place = {"add": Store, "sync_tree": files, "write_text": cache}[when]
        patched.setattr(place, when, full)
        entry(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["k.lock"]


def test_a_store_on_a_full_disk_closes_all_of_its_files(tmp_path: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    store = Store(1, tmp_path)
    store.add(block(0))
    with files_of_at_most(2), pytest.raises(OSError, match="File too large"):
        store.stop()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_folder_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(tmp_path)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr(entries, "_locked", refused)
    assert not entry(tmp_path).made
    with pytest.raises(WriteError, match="Read-only"):
        entry(tmp_path, key="other")


def test_a_lock_that_its_holder_removed_is_taken_anew(tmp_path: Path) -> None:
    path, taken = tmp_path / "k.lock", list[bool]()
    first = entries._locked(path, None)
    assert first is not None

    def waits() -> None:
        path.unlink()
        first.close()

    with entries.alone(tmp_path, "k", waits):
        taken.append(entries._locked(path, None) is None)
    assert taken == [True]


def test_what_killed_makers_of_other_data_left_goes(tmp_path: Path) -> None:
    gone, busy = tmp_path / ".aside-gone-1", tmp_path / ".aside-busy-1"
    for part in (gone, busy):
        part.mkdir()
        (part / "ids.bin").write_bytes(b"1234")
    with entries.alone(tmp_path, "busy", lambda: None):
        entry(tmp_path)
        assert (gone.exists(), busy.exists()) == (False, True)
    assert sorted(p.name for p in tmp_path.glob("*.lock")) == ["busy.lock", "k.lock"]


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    long_ago = time.time() - entries.OLDEST - 1000
    for key in ("old", "young"):
        entry(tmp_path, key=key)
    os.utime(tmp_path / "old" / entries.CARD, (long_ago, long_ago))
    note = tmp_path / entries.NOTES / "digest"
    note.parent.mkdir()
    note.write_text("{}")
    os.utime(note, (long_ago, long_ago))
    entry(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["files", "k", "young"]
    assert not note.exists()
