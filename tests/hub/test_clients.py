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


# --- the other way: what goes up ----------------------------------------------------------------

_UPLOAD = {
    "huggingface": """
import sys
from huggingface_hub import HfApi
api = HfApi(token="secret")
api.create_repo("me/theirs", private=True)
api.upload_folder(repo_id="me/theirs", folder_path=sys.argv[1])
""",
    "modelscope": """
import sys
from modelscope.hub.api import HubApi
api = HubApi(token="secret")
api.create_repo("me/theirs", repo_type="model", visibility="private")
api.upload_folder(repo_id="me/theirs", folder_path=sys.argv[1], use_cache=False)
""",
}


@pytest.fixture
def written(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world, with a token that may write."""
    world.token = "secret"
    for name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.setenv(name, "secret")
    return world


def a_model(folder: Path) -> Path:
    """Write a folder with files that travel as contents of their own, and within the commit."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(noise(300_000))
    (folder / "tokenizer.json").write_bytes(noise(70_000, 3))
    (folder / "config.json").write_bytes(b'{"model_type": "qwen3"}')
    return folder


def in_child(code: str, *words: str) -> str:
    """Return what a script prints, in a process where the clients read the environment anew."""
    more = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    words = (sys.executable, "-c", code, *words)
    env = {**os.environ, **more}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@both
def test_the_official_client_uploads_to_this_server(
    written: World, tmp_path: Path, hub: str
) -> None:
    folder = a_model(tmp_path / "model")
    in_child(_UPLOAD[hub], str(folder))
    there = written.repos["models/me/theirs"]
    assert {p: there[p] for p in files(folder)} == files(folder)
    assert written.private == {"models/me/theirs"}


@both
def test_what_we_push_the_official_client_downloads(
    written: World, tmp_path: Path, hub: str
) -> None:
    folder = a_model(tmp_path / "model")
    words = ["push", str(folder), "acme/tiny", "--hub", hub]
    del written.repos["models/acme/tiny"]
    in_child("import sys; from swift.cli.main import main; sys.exit(main(sys.argv[1:]))", *words)
    there = files(official(hub, written))
    assert {p: there[p] for p in files(folder)} == files(folder)
    assert b"written by swift push" in there["README.md"]
    assert len(written.commits) == 1


_OPEN = """
import sys
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model = AutoPeftModelForCausalLM.from_pretrained("me/adapter")
ids = AutoTokenizer.from_pretrained("me/adapter")("tree stone river", return_tensors="pt")
torch.save(model(**ids).logits, sys.argv[1])
"""
_OPEN_MERGED = _OPEN.replace("peft", "transformers").replace("AutoPeft", "Auto")


def test_an_adapter_that_was_pushed_is_opened_by_name_in_peft_and_in_swift(
    written: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from swift.checkpoint import served
    from swift.cli.main import main
    from tests.kit import chat_rows, tiny_chat_model

    monkeypatch.chdir(tmp_path)
    made = tiny_chat_model(tmp_path / "made")
    written.repos["models/acme/chat"] = {p.name: p.read_bytes() for p in made.iterdir()}
    rows = chat_rows(tmp_path / "rows.jsonl", 9)
    words = (
        f"--model acme/chat --dataset {rows} --max_steps 4 --learning_rate 1e-2 --output_dir run"
    )
    assert main(["sft", *words.split()]) == 0
    assert main(["merge", "run"]) == 0
    swift = "import sys; from swift.cli.main import main; sys.exit(main(sys.argv[1:]))"
    url = in_child(swift, "push", "run", "me/adapter").strip()
    assert url == f"{written.address}/me/adapter"
    up = written.repos["models/me/adapter"]
    assert not [name for name, data in up.items() if str(tmp_path).encode() in data]
    in_child(_OPEN, str(tmp_path / "adapter.pt"))
    in_child(swift, "push", "run/merged", "me/merged")
    in_child(_OPEN_MERGED.replace("me/adapter", "me/merged"), str(tmp_path / "merged.pt"))
    one, other = (torch.load(tmp_path / f"{name}.pt") for name in ("adapter", "merged"))
    assert (one - other).abs().max() < 1e-4
    in_child(_OPEN_MERGED.replace("me/adapter", "acme/chat"), str(tmp_path / "base.pt"))
    assert (one - torch.load(tmp_path / "base.pt")).abs().max() > 1e-2
    opened = served("me/adapter")
    assert opened.adapter is not None
    weights = "adapter_model.safetensors"
    (trained,) = (tmp_path / "run").glob(f"checkpoint-*/{weights}")
    assert (opened.adapter / weights).read_bytes() == trained.read_bytes()
    assert written.commit("models/acme/chat").encode() in up["adapter_config.json"]
