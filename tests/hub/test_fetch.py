"""A download is whole, checked, resumed, and never writes where it should not."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.core.errors import MachineError, UserError
from swift.hub import fetch as fetching
from swift.hub.fetch import cached, fetch
from swift.hub.progress import Progress
from swift.hub.ref import Ref
from swift.hub.shelf import commit_of
from swift.hub.web import Patience
from tests.hub.world import World, blob_name, serving

QUICK = Patience(tries=3, first=0.01, longest=0.02, silence=5.0)
TINY = Ref(id="acme/tiny")
HUBS = ("huggingface", "modelscope")


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    tiny = {
        "config.json": b'{"model_type": "qwen3"}',
        "model.safetensors": noise(300_000),
        "pytorch_model.bin": noise(300_000, 1),
        "original/model.safetensors": noise(10, 2),
        "tokenizer.json": noise(70_000, 3),
        "README.md": b"tiny",
    }
    rows = {"data/train.parquet": noise(2000, 4), "README.md": b"rows"}
    made = World(repos={"models/acme/tiny": tiny, "datasets/acme/rows": rows})
    with serving(made):
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", made.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
        monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "swift"))
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "ms-home"))
        unset = (
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "TRANSFORMERS_OFFLINE",
        )
        for name in (
            *unset,
            "HUGGING_FACE_HUB_TOKEN",
            "MODELSCOPE_API_TOKEN",
            "SWIFT_HUB",
            "HF_HUB_OFFLINE",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield made


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def useful(world: World) -> dict[str, bytes]:
    repo = world.repos["models/acme/tiny"]
    names = ("config.json", "model.safetensors", "tokenizer.json", "README.md")
    return {name: repo[name] for name in names}


@pytest.mark.parametrize("hub", HUBS)
def test_a_model_arrives_whole_and_without_what_nobody_reads(world: World, hub: str) -> None:
    assert files(fetch(TINY, hub=hub, patience=QUICK)) == useful(world)


@pytest.mark.parametrize("hub", HUBS)
def test_a_data_set_arrives_with_its_folders(world: World, hub: str) -> None:
    ref = Ref(kind="datasets", id="acme/rows")
    assert files(fetch(ref, hub=hub, patience=QUICK)) == world.repos["datasets/acme/rows"]


@pytest.mark.parametrize("hub", HUBS)
def test_what_is_here_is_not_fetched_again(world: World, hub: str) -> None:
    fetch(TINY, hub=hub, patience=QUICK)
    world.log.clear()
    fetch(TINY, hub=hub, patience=QUICK)
    assert not [a for a in world.log if a.file]


@pytest.mark.parametrize("hub", HUBS)
def test_patterns_choose_files(world: World, hub: str) -> None:
    found = fetch(TINY, hub=hub, patterns=["*.json"], patience=QUICK)
    assert sorted(files(found)) == ["config.json", "tokenizer.json"]
    with pytest.raises(UserError, match=r"no file of acme/tiny matches \*.gguf"):
        fetch(TINY, hub=hub, patterns=["*.gguf"], patience=QUICK)


@pytest.mark.parametrize("hub", HUBS)
def test_a_folder_of_ones_own_gets_plain_files(world: World, hub: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert fetch(TINY, hub=hub, to=mine, patience=QUICK) == mine
    assert files(mine) == useful(world)
    assert not any(p.is_symlink() for p in mine.rglob("*"))
    assert sorted(p.name for p in mine.iterdir()) == sorted(useful(world))


def test_equal_files_under_two_names_both_arrive(world: World, tmp_path: Path) -> None:
    world.repos["models/acme/twice"] = {"a.json": b"same", "b.json": b"same"}
    for hub, to in (("huggingface", None), ("modelscope", None), ("modelscope", tmp_path / "m")):
        found = fetch(Ref(id="acme/twice"), hub=hub, to=to, patience=QUICK)
        assert files(found) == world.repos["models/acme/twice"]


@pytest.mark.parametrize("hub", HUBS)
def test_a_cut_goes_on_at_its_byte(world: World, hub: str) -> None:
    world.cut["model.safetensors"] = [100_000, 250_000]
    assert files(fetch(TINY, hub=hub, patience=QUICK)) == useful(world)
    assert world.starts("model.safetensors") == [0, 100_000, 250_000]


def test_cuts_that_bring_bytes_are_forgiven_for_ever(world: World) -> None:
    world.repos["models/acme/long"] = {"a.bin": noise(2_000_000)}
    world.cut["a.bin"] = [100_000 * k for k in range(1, 20)]
    fetch(Ref(id="acme/long"), hub="huggingface", patience=QUICK)
    assert len(world.starts("a.bin")) == 20


def test_a_hub_that_passes_over_ranges_is_read_from_the_start(world: World) -> None:
    world.whole = True
    world.cut["model.safetensors"] = [200_000]
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)


def leave_partial(world: World, tmp_path: Path, data: bytes) -> Path:
    name = blob_name("model.safetensors", world.repos["models/acme/tiny"]["model.safetensors"])
    blobs = tmp_path / "hf" / "hub" / "models--acme--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{name}.incomplete").write_bytes(data)
    return blobs


@pytest.mark.parametrize("left", [noise(1000, 9), noise(300_000, 9), noise(400_000, 9)])
def test_what_an_earlier_try_left_is_no_more_than_trusted(
    world: World, tmp_path: Path, left: bytes
) -> None:
    leave_partial(world, tmp_path, left)
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)


def test_416_begins_anew_and_ends_in_words(world: World, tmp_path: Path) -> None:
    whole = world.repos["models/acme/tiny"]["model.safetensors"]
    leave_partial(world, tmp_path, whole[:-1])
    world.stale.add("model.safetensors")  # one byte short: the next byte does not exist
    with pytest.raises(MachineError, match="299,999 bytes instead of 300,000"):
        fetch(TINY, hub="huggingface", patience=QUICK)
    assert world.starts("model.safetensors")[:2] == [299_999, 0]
    world.stale.clear()
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_flipped_byte_on_the_way_is_found_and_fetched_again(
    world: World, hub: str, file: str
) -> None:
    world.corrupt[file] = 2
    said: list[str] = []
    found = fetch(TINY, hub=hub, patience=QUICK, show=lambda p: said.append(p.note))
    assert files(found) == useful(world)
    assert world.starts(file) == [0, 0, 0]
    assert [s for s in said if s.startswith(f"{file}: its bytes are not those")]


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_byte_flipped_on_the_disk_is_found_when_all_is_read(
    world: World, hub: str, file: str
) -> None:
    path = fetch(TINY, hub=hub, patience=QUICK) / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.resolve().write_bytes(bytes(data))
    world.log.clear()
    assert files(fetch(TINY, hub=hub, deep=True, patience=QUICK)) == useful(world)
    assert [a.file for a in world.log if a.file] == [file]


@pytest.mark.parametrize("hub", HUBS)
def test_bytes_that_stay_wrong_are_never_shown(world: World, hub: str) -> None:
    world.corrupt["model.safetensors"] = 99
    with pytest.raises(MachineError, match=r"model\.safetensors came with wrong bytes 3 times"):
        fetch(TINY, hub=hub, patience=QUICK)
    assert not [f for home in cached(TINY) for f in files(home)]


@pytest.mark.parametrize("evil", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:/evil"])
@pytest.mark.parametrize("hub", HUBS)
def test_a_name_that_leads_out_of_the_folder_stops_all(
    world: World, hub: str, evil: str, tmp_path: Path
) -> None:
    world.repos["models/acme/tiny"][evil] = b"evil"
    with pytest.raises(UserError, match="leads out of the folder; nothing is fetched"):
        fetch(TINY, hub=hub, patience=QUICK)
    assert not [a for a in world.log if a.file]
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("id", ["../up", "a/b/c", "", "a//b", ".hidden/x", "a/b?x=1"])
def test_an_id_that_no_hub_has_is_refused_before_the_network(id: str) -> None:
    with pytest.raises(UserError, match="no name that a hub can have"):
        Ref(id=id)


def test_a_busy_hub_is_waited_for_as_long_as_it_asks(world: World) -> None:
    world.refuse[""] = [(429, {"Retry-After": "1"}), (503, {})]
    world.refuse["config.json"] = [(500, {})]
    begin = time.monotonic()
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)
    assert time.monotonic() - begin >= 1.0


def test_a_redirect_is_followed_but_told_no_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms_secret")
    world.elsewhere = world.other_address
    for hub in HUBS:
        assert files(fetch(TINY, hub=hub, patience=QUICK)) == useful(world)
    own = [a for a in world.log if a.host.startswith("127.0.0.1")]
    away = [a for a in world.log if a.host.startswith("localhost")]
    assert own
    assert all("secret" in a.secret for a in own)
    assert len(away) == 8
    assert not any(a.secret for a in away)


def test_a_proxy_of_the_environment_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", world.address)
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)
    assert {a.host for a in world.log} == {"hub.invalid"}


def test_the_default_mirror_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    from swift.core.env import hubs

    first, mirror, _ = fetching.sites("auto", hubs())
    assert (first.endpoint, first.token) == ("https://huggingface.co", "hf_secret")
    assert (mirror.endpoint, mirror.token) == ("https://hf-mirror.com", "")


def test_a_model_may_be_called_differently_on_each_hub(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = {"huggingface": Ref(id="meta/none"), "modelscope": TINY}
    assert "ms" in str(fetch(refs, patience=QUICK))
    assert cached(refs) == [fetch(refs, patience=QUICK)]
    with pytest.raises(UserError, match="is not on huggingface"):
        fetch({"modelscope": TINY}, hub="huggingface", patience=QUICK)


def test_a_dead_hub_leaves_it_to_its_mirror_and_then_to_modelscope(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:9,{world.address}")
    assert "hf" in str(fetch(TINY, patience=QUICK))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "ms" in str(fetch(TINY, patience=QUICK))


@pytest.mark.parametrize("hub", HUBS)
def test_a_hub_that_says_no_is_understood(world: World, hub: str) -> None:
    with pytest.raises(UserError, match="has no such model, or it is private"):
        fetch(Ref(id="acme/none"), hub=hub, patience=QUICK)
    with pytest.raises(UserError, match=r"no revision `v9`|no such revision"):
        fetch(Ref(id="acme/tiny", revision="v9"), hub=hub, patience=QUICK)
    world.token = "right"
    token = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}[hub]
    with pytest.raises(UserError, match=f"set {token}"):
        fetch(TINY, hub=hub, patience=QUICK)


def test_a_token_opens_what_is_gated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.token = "right"
    with pytest.raises(UserError, match=r"accept them on .*/acme/tiny, then set HF_TOKEN"):
        fetch(TINY, hub="huggingface", patience=QUICK)
    monkeypatch.setenv("HF_TOKEN", "right")
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_either_name_of_offline_is_obeyed(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UserError, match="is not on this machine"):
        fetch(TINY, patience=QUICK)
    assert not world.log


def test_offline_answers_at_once_and_names_what_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="acme/tiny is not on this machine") as caught:
        fetch(TINY)
    assert "swift download acme/tiny" in caught.value.problems[0].fix
    assert not world.log
    monkeypatch.delenv("HF_HUB_OFFLINE")
    here = fetch(TINY, patience=QUICK)
    world.log.clear()
    assert fetch(TINY, offline=True) == here
    assert not world.log


def test_a_disk_too_small_is_known_before_the_first_byte(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "free_bytes", lambda path: 1000)
    with pytest.raises(MachineError, match=r"the download needs 0\.0 GiB, but the disk of"):
        fetch(TINY, hub="huggingface", patience=QUICK)
    assert not [a for a in world.log if a.file]


def test_a_long_list_comes_page_by_page(world: World) -> None:
    world.page = 2
    assert files(fetch(TINY, hub="huggingface", patience=QUICK)) == useful(world)
    many = {f"part-{n}.jsonl": b"%d" % n for n in range(450)}
    world.repos["datasets/acme/many"] = many
    found = fetch(Ref(kind="datasets", id="acme/many"), hub="modelscope", patience=QUICK)
    assert files(found) == many


@pytest.mark.parametrize("hub", HUBS)
def test_a_snapshot_knows_its_commit(world: World, hub: str) -> None:
    found = fetch(TINY, hub=hub, patience=QUICK)
    assert commit_of(found) == world.commit("models/acme/tiny")
    assert commit_of(found.parent) == ""


def test_progress_counts_every_byte_once(world: World) -> None:
    world.cut["model.safetensors"] = [100_000]
    world.corrupt["tokenizer.json"] = 1
    seen: list[Progress] = []
    fetch(TINY, hub="huggingface", patience=QUICK, show=seen.append)
    total = sum(map(len, useful(world).values()))
    assert seen[-1].ended
    assert (seen[-1].done, seen[-1].total, seen[-1].files) == (total, total, 4)


def test_the_bytes_before_a_kill_count_as_done(world: World, tmp_path: Path) -> None:
    whole = world.repos["models/acme/tiny"]["model.safetensors"]
    leave_partial(world, tmp_path, whole[:123_456])
    fetch(TINY, hub="huggingface", patience=QUICK)
    assert world.starts("model.safetensors") == [123_456]


_CHILD = """
import sys
from swift.hub.fetch import fetch
from swift.hub.ref import Ref
print(fetch(Ref(id=sys.argv[1]), hub=sys.argv[2]))
"""


def child(id: str, hub: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _CHILD, id, hub]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.slow
@pytest.mark.parametrize("hub", HUBS)
def test_ten_kills_each_resume_within_a_megabyte(world: World, hub: str) -> None:
    size = 24 << 20
    big = noise(size)
    world.repos["models/acme/big"] = {"big.safetensors": big}
    world.pace = 0.0005
    kills = sorted(random.Random(hub).sample(range(2 << 20, size), 10))
    for byte in kills:
        started = threading.Event()
        victim: list[int] = []

        def kill(started: threading.Event = started, victim: list[int] = victim) -> None:
            started.wait(10)
            os.kill(victim[0], signal.SIGKILL)

        world.at["big.safetensors"] = (byte, kill)
        process = child("acme/big", hub)
        victim.append(process.pid)
        started.set()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    last = child("acme/big", hub)
    said, _ = last.communicate(timeout=60)
    assert last.returncode == 0
    assert (Path(said.strip()) / "big.safetensors").read_bytes() == big
    resumed = world.starts("big.safetensors")[1:]
    lost = [byte - start for byte, start in zip(kills, resumed, strict=True)]
    assert all(0 <= gap <= 1 << 20 for gap in lost), lost


@pytest.mark.slow
@pytest.mark.parametrize("hub", HUBS)
def test_two_processes_at_once_fetch_a_file_once(world: World, hub: str) -> None:
    world.repos["models/acme/big"] = {"big.safetensors": noise(8 << 20)}
    world.pace = 0.004
    both = [child("acme/big", hub) for _ in range(2)]
    said = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1
    data = (Path(said.pop()) / "big.safetensors").read_bytes()
    assert hashlib.sha256(data).digest() == hashlib.sha256(noise(8 << 20)).digest()
    assert world.starts("big.safetensors") == [0]


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize("to", [False, True])
@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("n" * 300, "longer than a file's name can be"),
        ("data/" + "\u00fc" * 128, "longer than a file's name can be"),
        ("config.json/x", "names a file `config.json` and in it a file `config.json/x`"),
        ("config.json/x/y", "names a file `config.json` and in it a file `config.json/x/y`"),
    ],
)
def test_files_that_cannot_be_laid_are_the_fault_of_the_repository(
    world: World, tmp_path: Path, hub: str, to: bool, file: str, says: str
) -> None:
    world.repos["models/acme/tiny"][file] = b"x"
    folder = tmp_path / "to"
    with pytest.raises(UserError, match=re.escape(says)):
        fetch(TINY, hub=hub, to=folder if to else None, patience=QUICK)
    assert not [asked for asked in world.log if asked.file]
    assert not folder.exists() and not files(tmp_path)


@pytest.mark.parametrize("hub", HUBS)
def test_a_file_with_the_longest_name_there_can_be_arrives(world: World, hub: str) -> None:
    world.repos["models/acme/tiny"] = {"n" * 251 + ".bin": noise(9)}
    found = fetch(TINY, hub=hub, patience=QUICK)
    assert files(found) == world.repos["models/acme/tiny"]
    assert all(p.is_symlink() for p in found.iterdir()) == (hub == "huggingface")
