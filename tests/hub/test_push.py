"""A push is one commit, sends nothing twice, says what is wrong, and leaves others' cards alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from swift.core.errors import MachineError, UserError
from swift.hub.fetch import fetch
from swift.hub.parcel import MARK, Bytes, Parcel, Pushed
from swift.hub.push import push
from swift.hub.ref import Ref
from tests.hub.test_fetch import HUBS, QUICK, files, noise, world
from tests.hub.world import World

__all__ = ["world"]

TOKEN = "hf_secret"
CARD = f"---\ntags: [swift]\n---\n{MARK}\nours\n".encode()
MAIN = {"huggingface": "main", "modelscope": "master"}
both = pytest.mark.parametrize("hub", HUBS)


@pytest.fixture
def hub_world(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world, which now wants a token; the official client speaks plain LFS to it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Read once, when it is imported: by then tests/conftest.py has set the variable.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    world.token = TOKEN
    yield world


def parcel(
    folder: Path,
    *,
    id: str = "me/new",
    kind: str = "models",
    also: Mapping[str, Bytes] | None = None,
) -> Parcel:
    """Return two large files, a small one and a card."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(noise(300_000))
    (folder / "tokenizer.json").write_bytes(noise(70_000, 3))
    (folder / "config.json").write_bytes(b'{"model_type": "qwen3"}')
    own: dict[str, Bytes] = {p.name: p for p in sorted(folder.iterdir())}
    ref = Ref(kind="datasets" if kind == "datasets" else "models", id=id)
    return Parcel(ref=ref, files={**own, "README.md": CARD, **(also or {})}, message="first")


def contents(parcel: Parcel) -> dict[str, bytes]:
    return {p: f if isinstance(f, bytes) else f.read_bytes() for p, f in parcel.files.items()}


def to(hub: str, parcel: Parcel) -> Pushed:
    return push(parcel, hub=hub, patience=QUICK)


@both
@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_what_goes_up_comes_down_byte_for_byte(
    hub_world: World, tmp_path: Path, hub: str, kind: str
) -> None:
    made = parcel(tmp_path / "model", kind=kind)
    pushed = to(hub, made)
    assert set(pushed.sent) == set(made.files) and not pushed.kept
    assert hub_world.repos[f"{kind}/me/new"] == contents(made)
    assert len(hub_world.commits) == 1
    assert files(fetch(made.ref, hub=hub, patience=QUICK)) == contents(made)


@both
def test_a_second_push_sends_nothing(hub_world: World, tmp_path: Path, hub: str) -> None:
    made = parcel(tmp_path / "model")
    to(hub, made)
    hub_world.log.clear()
    pushed = to(hub, made)
    assert not pushed.sent and set(pushed.same) == set(made.files)
    assert not [a for a in hub_world.log if a.method in ("PUT", "POST")]
    assert len(hub_world.commits) == 1


@both
def test_only_what_changed_goes_up_and_the_rest_stays(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    to(hub, parcel(tmp_path / "model", also={"other": b"stays"}))
    made = parcel(tmp_path / "model", also={"config.json": b"{}"})
    assert to(hub, made).sent == ("config.json",)
    assert hub_world.repos["models/me/new"] == {**contents(made), "other": b"stays"}


@both
def test_an_upload_that_was_cut_is_seen_nowhere_and_goes_on_with_the_next_file(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    made = parcel(tmp_path / "model", also={"second.safetensors": noise(200_000, 7)})
    hub_world.refuse[":commit"] = [(400, {})]
    with pytest.raises(UserError):
        to(hub, made)
    assert hub_world.blobs and not hub_world.commits
    assert "model.safetensors" not in hub_world.repos["models/me/new"]
    hub_world.log.clear()
    to(hub, made)
    assert not [a for a in hub_world.log if a.method == "PUT"]
    assert hub_world.repos["models/me/new"] == contents(made)


@both
def test_a_hub_that_is_busy_once_is_asked_again(hub_world: World, tmp_path: Path, hub: str) -> None:
    busy: list[tuple[int, dict[str, str]]] = [(503, {}), (429, {})]
    hub_world.refuse |= {":create": busy[:1], ":commit": busy[1:], ":put": busy[:1]}
    made = parcel(tmp_path / "model")
    to(hub, made)
    assert hub_world.repos["models/me/new"] == contents(made)
    assert len(hub_world.commits) == 1


@both
@pytest.mark.parametrize(
    ("status", "words"), [(403, "does not let this token write"), (413, "too large")]
)
def test_a_refusal_is_one_problem_with_its_repair(
    hub_world: World, tmp_path: Path, hub: str, status: int, words: str
) -> None:
    hub_world.refuse[":commit"] = [(status, {})]
    with pytest.raises(UserError, match=words) as caught:
        to(hub, parcel(tmp_path / "model"))
    assert len(caught.value.problems) == 1 and caught.value.problems[0].fix
    assert TOKEN not in str(caught.value)


@both
def test_a_wrong_token_is_named_before_anything_is_sent(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    hub_world.token = "another"
    with pytest.raises(UserError, match="does not know the token"):
        to(hub, parcel(tmp_path / "model"))
    assert not hub_world.blobs and not hub_world.commits


@both
def test_without_a_token_nothing_is_asked(
    hub_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: str
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    with pytest.raises(UserError, match="wants a token"):
        to(hub, parcel(tmp_path / "model"))
    assert not hub_world.log


@both
def test_offline_answers_at_once(
    hub_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        to(hub, parcel(tmp_path / "model"))
    assert not hub_world.log


@both
def test_a_hub_that_stays_busy_is_the_machine_s_trouble(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    hub_world.refuse[":create"] = [(503, {})] * 9
    with pytest.raises(MachineError, match="503") as caught:
        to(hub, parcel(tmp_path / "model"))
    assert "push again" in caught.value.problems[0].fix


@both
def test_a_card_that_another_wrote_up_there_stays(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    hub_world.repos["models/me/new"] = {"README.md": b"by hand, on the web"}
    made = parcel(tmp_path / "model")
    assert to(hub, made).kept == ("README.md",)
    assert hub_world.repos["models/me/new"]["README.md"] == b"by hand, on the web"
    newer = parcel(tmp_path / "model", also={"README.md": b"the user's own"})
    assert to(hub, newer).sent == ("README.md",)


@both
def test_private_is_private_and_what_is_public_cannot_be_hidden(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    made = parcel(tmp_path / "model")
    hidden = Parcel(ref=made.ref, files=made.files, message="m", private=True)
    to(hub, hidden)
    assert hub_world.private == {"models/me/new"}
    hub_world.private.clear()
    with pytest.raises(UserError, match="public already"):
        to(hub, hidden)


def test_modelscope_is_told_the_licence_of_the_page_and_no_other(
    hub_world: World, tmp_path: Path
) -> None:
    own = {"README.md": b"---\nlicense: mit\n---\n"}
    to("modelscope", parcel(tmp_path / "model", also=own))
    to("modelscope", parcel(tmp_path / "model", id="me/silent"))
    assert hub_world.licenses == {"models/me/new": "mit", "models/me/silent": ""}


def test_a_branch_is_made_where_there_is_none(hub_world: World, tmp_path: Path) -> None:
    made = parcel(tmp_path / "model")
    ref = Ref(id="me/new", revision="trial")
    to("huggingface", Parcel(ref=ref, files=made.files, message="m"))
    assert hub_world.branches == {("models/me/new", "trial")}
    assert hub_world.commits


def test_a_card_that_is_no_yaml_is_refused_before_its_weights(
    hub_world: World, tmp_path: Path
) -> None:
    made = parcel(tmp_path / "model", also={"README.md": b"---\na: [\n---\n"})
    with pytest.raises(UserError, match=r"README\.md"):
        to("huggingface", made)
    assert not hub_world.blobs


def test_a_token_chooses_its_hub(hub_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from swift.hub.push import destination

    chosen = destination("auto")
    assert not isinstance(chosen, Path) and chosen.name == "huggingface"
    monkeypatch.delenv("HF_TOKEN")
    chosen = destination("auto")
    assert not isinstance(chosen, Path) and chosen.name == "modelscope"


_KILLED = """
import json, sys
from pathlib import Path
from huggingface_hub import constants
constants.HF_HUB_DISABLE_XET = True
from swift.hub.parcel import Parcel
from swift.hub.push import push
from swift.hub.ref import Ref
said = json.loads(sys.argv[1])
files = {p.name: p for p in sorted(Path(said["folder"]).iterdir())}
push(Parcel(ref=Ref(id="me/new"), files=files, message="m"), hub=said["hub"])
"""


@both
def test_a_killed_push_sends_again_only_the_file_it_was_at(
    hub_world: World, tmp_path: Path, hub: str
) -> None:
    folder = tmp_path / "model"
    made = parcel(folder)
    (folder / "second.safetensors").write_bytes(noise(400_000, 9))
    words = [sys.executable, "-c", _KILLED, json.dumps({"folder": str(folder), "hub": hub})]
    hub_world.cut_up = [10**9, 100_000]  # the first passes
    child = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def kill() -> None:
        hub_world.stored.wait(30)  # the client sends both at once
        child.kill()

    hub_world.when_cut = kill
    assert child.wait(60) < 0
    assert len(hub_world.blobs) == 1 and not hub_world.commits
    hub_world.when_cut = None
    hub_world.log.clear()
    all_of_it = {p.name: p for p in sorted(folder.iterdir())}
    to(hub, Parcel(ref=made.ref, files=all_of_it, message="m"))
    assert len([a for a in hub_world.log if a.method == "PUT"]) == len(hub_world.blobs) - 1
    assert len(hub_world.commits) == 1
