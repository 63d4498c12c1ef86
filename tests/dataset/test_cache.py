"""What was encoded once is found again: whole, by content, by one maker at a time."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift.core.errors import DataError
from swift.dataset import cache, entries
from swift.dataset.cache import Kept, kept, key_of, stamp, unchanged
from swift.dataset.encoded import Block, Store

SAID = [{"event": "data", "text": "three rows"}]


def block(seed: int) -> Block:
    ids = np.arange(6, dtype=np.int32) + seed
    marks = np.array([0, 1, 1, 0, 1, 1], dtype=np.bool_)
    return Block(ids, marks, np.array([2, 1, 3]), ["x.jsonl:1", "x.jsonl:7", "odd"])


def filled(folder: Path, seed: int = 0) -> cache.Said:
    store = Store(1, folder)
    try:
        store.add(block(seed))
        store.add(block(seed + 10))
        store.close()
    finally:
        store.stop()
    return SAID


def entry(home: Path, calls: list[Path] | None = None, key: str = "k") -> Kept:
    def make(folder: Path) -> cache.Said:
        if calls is not None:
            calls.append(folder)
        return filled(folder)

    return kept(home, key, 1, make, lambda text: None)


def test_what_was_made_once_is_found_with_all_that_was_said(tmp_path: Path) -> None:
    calls: list[Path] = []
    first, second = entry(tmp_path, calls), entry(tmp_path, calls)
    assert (len(calls), first.made, second.made) == (1, True, False)
    assert second.said == SAID
    assert second.encoded.ids.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    assert second.encoded.offsets.tolist() == [0, 2, 3, 6, 8, 9, 12]
    assert list(second.encoded.origins) == ["x.jsonl:1", "x.jsonl:7", "odd"] * 2
    assert second.encoded.fingerprint() == first.encoded.fingerprint()


def test_tokens_in_files_have_the_fingerprint_of_those_in_memory(tmp_path: Path) -> None:
    store = Store(1)
    store.add(block(0))
    store.add(block(10))
    assert entry(tmp_path).encoded.fingerprint() == store.close().fingerprint()


@pytest.mark.parametrize("name", ["ids.bin", "supervised.bin", "numbers.bin", "names.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_an_entry_that_is_not_what_was_written_is_made_anew(
    tmp_path: Path, name: str, how: str
) -> None:
    good = entry(tmp_path).encoded.fingerprint()
    path = tmp_path / "k" / name
    data = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if how == "flipped" else data[:-1])
    again = entry(tmp_path)
    assert (again.made, again.encoded.fingerprint()) == (True, good)
    assert not entry(tmp_path).made


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: Path) -> Any:
        (folder / "ids.bin").write_bytes(b"1234")
        raise DataError([])

    with pytest.raises(DataError):
        kept(tmp_path, "k", 1, make, lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["k.lock"]
    assert entry(tmp_path).made


def _slow(home: Path, log: Path, begun: Any, go: Any) -> None:
    def make(folder: Path) -> cache.Said:
        begun.set()
        go.wait(60)
        with log.open("a") as file:
            file.write(f"made by {os.getpid()}\n")
        return filled(folder)

    found = kept(home, "k", 1, make, lambda text: None)
    with log.open("a") as file:
        file.write(f"{found.encoded.fingerprint()}\n")


def test_of_processes_at_once_one_makes_and_the_others_wait(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    begun, go = spawn.Event(), spawn.Event()
    log = tmp_path / "log"
    children = [spawn.Process(target=_slow, args=(tmp_path / "c", log, begun, go)) for _ in "ab"]
    for child in children:
        child.start()
    assert begun.wait(60)
    go.set()
    for child in children:
        child.join(60)
    lines = log.read_text().split("\n")[:-1]
    assert [line[:4] for line in lines].count("made") == 1
    assert len(set(lines)) == 2
    assert len(lines) == 3


def test_a_maker_that_is_killed_is_followed_by_the_next(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    begun, go = spawn.Event(), spawn.Event()
    child = spawn.Process(target=_slow, args=(tmp_path, tmp_path / "log", begun, go))
    child.start()
    assert begun.wait(60)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        child.kill()

    found = kept(tmp_path, "k", 1, filled, say)
    child.join(60)
    assert (found.made, said) == (
        True,
        ["another process prepares this data: its tokens are waited for"],
    )
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert left == []


def test_the_key_follows_contents_and_options_not_names_or_times(tmp_path: Path) -> None:
    one, two = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one.write_text("{}")
    two.write_text("{}")
    key = key_of({"max_length": 5}, [one], tmp_path / "c")
    assert key_of({"max_length": 5}, [two], tmp_path / "c") == key
    assert key_of({"max_length": 6}, [one], tmp_path / "c") != key
    assert key_of({"max_length": 5}, [one, two], tmp_path / "c") != key
    os.utime(one, (1, 1))
    assert key_of({"max_length": 5}, [one], tmp_path / "c") == key
    two.write_text("[]")
    assert key_of({"max_length": 5}, [two], tmp_path / "c") != key


def test_a_digest_is_remembered_until_the_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    os.utime(path, (1, 1))
    key = key_of({}, [path], tmp_path / "c")
    monkeypatch.setattr("hashlib.file_digest", None)  # not asked again
    assert key_of({}, [path], tmp_path / "c") == key
    path.write_text("[]")
    with pytest.raises(TypeError):
        key_of({}, [path], tmp_path / "c")


def test_other_code_has_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of({}, [], tmp_path)
    monkeypatch.setattr(cache, "code", lambda: "changed")
    assert key_of({}, [], tmp_path) != key


def test_a_file_that_is_written_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    before = stamp([path])
    unchanged(before)
    path.write_text("{} ")
    with pytest.raises(DataError, match="changed while it was read"):
        unchanged(before)


def test_the_entries_that_were_not_used_for_longest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, key in enumerate(("new", "old", "older")):
        entry(tmp_path, key=key)
        when = time.time() - 1000 * age
        os.utime(tmp_path / key / entries.CARD, (when, when))
    size = sum(path.stat().st_size for path in (tmp_path / "old").iterdir())
    monkeypatch.setattr(entries, "MOST_BYTES", int(2.5 * size))
    entry(tmp_path, key="newest")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["new", "newest"]


def test_a_share_of_mapped_tokens_copies_none(tmp_path: Path) -> None:
    made = entry(tmp_path).encoded
    part = made.take([4, 0, 5]).take([2, 0])
    assert part.ids is made.ids
    assert [part.sequence(i, 0)[0].tolist() for i in (0, 1)] == [[13, 14, 15], [12]]
    assert part.lengths.tolist() == [3, 1]
    assert list(part.origins) == ["odd", "x.jsonl:7"]
    assert part.fingerprint() != made.take([4, 5]).fingerprint() != made.fingerprint()
