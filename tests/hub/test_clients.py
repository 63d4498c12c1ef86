"""The hubs' own clients are content with the same server, and share their caches with us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from swift.core.errors import UserError
from swift.hub.fetch import cached, fetch
from swift.hub.ref import Ref
from tests.hub.test_fetch import QUICK, TINY, files, noise, useful, world
from tests.hub.world import World

__all__ = ["world"]

_ASK = {
    "huggingface": """
import json, sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/tiny", **json.loads(sys.argv[1])))
""",
    "modelscope": """
import json, sys
from modelscope import snapshot_download
print(snapshot_download("acme/tiny", **json.loads(sys.argv[1])))
""",
}
_PACKAGE = {"huggingface": "huggingface_hub", "modelscope": "modelscope"}
pytestmark = pytest.mark.slow
both = pytest.mark.parametrize(
    "hub",
    [
        pytest.param(h, marks=pytest.mark.skipif(not find_spec(p), reason=f"{p} is not installed"))
        for h, p in _PACKAGE.items()
    ],
)


def official(hub: str, world: World, **options: object) -> Path:
    """Return what the hub's own client downloads, in a process of its own."""
    words = [sys.executable, "-c", _ASK[hub], json.dumps(options)]
    kind = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        words, env={**os.environ, **kind}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@both
def test_the_official_client_downloads_from_this_server(world: World, hub: str) -> None:
    assert files(official(hub, world)) == world.repos["models/acme/tiny"]


@both
def test_what_the_official_client_downloaded_is_ours_without_the_network(
    world: World, hub: str
) -> None:
    theirs = official(hub, world)
    world.log.clear()
    assert fetch(TINY, hub=hub, offline=True).resolve() == theirs.resolve()
    assert not world.log
    again = fetch(TINY, hub=hub, deep=True, patience=QUICK)
    assert again.resolve() == theirs.resolve()
    assert not [a for a in world.log if a.file]


@both
def test_what_we_download_the_official_client_finds_alone(world: World, hub: str) -> None:
    ours = fetch(TINY, hub=hub, patience=QUICK)
    world.log.clear()
    theirs = official(hub, world, local_files_only=True)
    assert theirs.resolve() == ours.resolve()
    assert files(theirs) == useful(world)
    assert not world.log


@both
def test_what_we_left_out_the_official_client_adds(world: World, hub: str) -> None:
    fetch(TINY, hub=hub, patience=QUICK)
    world.log.clear()
    assert files(official(hub, world)) == world.repos["models/acme/tiny"]
    assert not [a for a in world.log if a.file in useful(world) and a.method == "GET" and a.sent]


def test_modelscope_s_older_layout_is_found(world: World, tmp_path: Path) -> None:
    old = tmp_path / "ms" / "hub" / "models" / "acme" / "tiny-2___5"
    old.mkdir(parents=True)
    (old / "config.json").write_bytes(noise(3))
    assert cached(Ref(id="acme/tiny-2.5")) == [old]
    with pytest.raises(UserError):
        fetch(TINY, offline=True)
