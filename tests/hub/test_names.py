"""A name of a model or a data set is enough: what is not here is fetched, and said aloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift.checkpoint import checkpoints, read_card, served
from swift.cli.main import main
from swift.core.errors import DataError, MachineError, PlanError
from swift.dataset.sources import find, rows
from swift.hub.progress import Progress, showing
from swift.hub.shelf import commit_of
from swift.model.find import find_model
from swift.model.hubs import lacking
from tests.hub.test_fetch import QUICK, noise, world
from tests.hub.world import World
from tests.kit import chat_rows, tiny_chat_model

__all__ = ["world"]
ROWS = [{"instruction": f"i{i}", "output": f"o{i}"} for i in range(5)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("swift.hub.fetch.Patience", lambda: QUICK)
    monkeypatch.setattr("swift.hub.web.Patience", lambda: QUICK)


def model(*more: str) -> dict[str, bytes]:
    names = ("model.safetensors", *more)
    return {"config.json": b'{"model_type": "qwen3"}', **{n: noise(99) for n in names}}


def test_a_name_of_the_catalogue_is_fetched_from_either_hub(world: World, tmp_path: Path) -> None:
    world.repos["models/LLM-Research/Meta-Llama-3-8B"] = model()  # as ModelScope calls it
    seen: list[Progress] = []
    with_show = showing.set(seen.append)
    found = find_model("meta-llama-3-8b", tmp_path)
    showing.reset(with_show)
    assert found.is_relative_to(tmp_path / "ms")
    assert (found / "model.safetensors").read_bytes() == noise(99)
    assert (seen[0].id, seen[0].files) == ("LLM-Research/Meta-Llama-3-8B", 2)


def test_any_org_and_name_is_fetched_and_knows_its_commit(world: World, tmp_path: Path) -> None:
    found = find_model("acme/tiny", tmp_path)
    assert commit_of(found) == world.commit("models/acme/tiny")


def test_a_model_that_is_here_asks_nothing_of_a_hub(world: World, tmp_path: Path) -> None:
    first = find_model("acme/tiny", tmp_path)
    world.log.clear()
    assert find_model("acme/tiny", tmp_path) == first
    assert not world.log


def test_a_model_of_which_a_part_is_here_is_completed(world: World, tmp_path: Path) -> None:
    found = find_model("acme/tiny", tmp_path)
    (found / "model.safetensors").unlink()
    assert lacking(found) == ["model.safetensors"]
    assert lacking(find_model("acme/tiny", tmp_path)) == []


def test_a_missing_shard_is_known_by_the_index(tmp_path: Path) -> None:
    for name in ("config.json", "model-1-of-2.safetensors"):
        (tmp_path / name).touch()
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert lacking(tmp_path) == ["model-2-of-2.safetensors"]


def test_offline_names_what_is_missing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (find_model("acme/tiny", tmp_path) / "model.safetensors").unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    world.log.clear()
    with pytest.raises(PlanError, match=r"without model\.safetensors, and HF_HUB_OFFLINE is set"):
        find_model("acme/tiny", tmp_path)
    assert not world.log


def test_a_path_that_is_not_there_is_no_name(world: World, tmp_path: Path) -> None:
    Path("runs").mkdir()
    for path in ("runs/nano-sft-001", "./acme", "/acme/tiny", "~/tiny", "tiny"):
        with pytest.raises(PlanError, match="there is no model"):
            find_model(path, tmp_path)
    assert not world.log


def test_what_no_hub_has_says_each_and_the_nearest_name(world: World, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        find_model("Qwne/Qwen3-8B", tmp_path)
    said = str(caught.value)
    assert said.count("has no such model") == 2
    assert "write `Qwen/Qwen3-8B`" in said


def test_a_hub_and_a_revision_may_be_said(world: World, tmp_path: Path) -> None:
    assert find_model("acme/tiny", tmp_path, hub="modelscope").is_relative_to(tmp_path / "ms")
    sha = world.commit("models/acme/tiny")
    assert find_model("acme/tiny", tmp_path, revision=sha).name == sha
    with pytest.raises(PlanError, match="has no revision `v9`"):
        find_model("acme/tiny", tmp_path, revision="v9", hub="huggingface")


def test_what_is_served_may_be_of_a_revision(world: World) -> None:
    with pytest.raises(PlanError, match="has no revision `v9`"):
        served("acme/tiny", hub="huggingface", revision="v9")


def data(world: World, id: str, **files: bytes) -> None:
    world.repos[f"datasets/{id}"] = {f"{name}.jsonl": text for name, text in files.items()}


def lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


@pytest.mark.parametrize("id", ["AI-ModelScope/alpaca-gpt4-data-en", "vicgalle/alpaca-gpt4"])
def test_a_data_set_of_the_catalogue_is_fetched(world: World, id: str) -> None:
    data(world, id, train=lines())
    assert [raw.row for raw in rows(find("alpaca-gpt4"))] == ROWS


def test_a_data_set_of_which_a_part_is_here_is_completed(world: World) -> None:
    data(world, "acme/talks", train1=lines(), train2=lines())
    find("acme/talks").files[0].unlink()
    assert len(find("acme/talks").files) == 2


def test_a_data_set_that_is_here_outlives_its_hub(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    data(world, "acme/talks", train=lines())
    here = find("acme/talks")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    assert find("acme/talks").files == here.files
    with pytest.raises(MachineError, match="cannot be reached"):
        find("acme/other")


def test_a_data_set_that_no_hub_has_is_missed(world: World) -> None:
    with pytest.raises(DataError, match="has no such dataset"):
        find("acme/none")


def test_download_says_what_it_fetches_and_prints_the_folder(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", "acme/tiny", "--hub", "modelscope"]) == 0
    out, err = capsys.readouterr()
    assert (Path(out.strip()) / "config.json").is_file()
    assert "fetching acme/tiny from 127.0.0.1" in err
    assert "4 files, 370.0 kB" in err
    assert f"is whole, at commit {world.commit('models/acme/tiny')}" in err


def test_download_mends_what_is_corrupt(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    main(["download", "acme/tiny"])
    folder = Path(capsys.readouterr().out.strip())
    (folder / "tokenizer.json").resolve().write_bytes(noise(70_000, 8))
    assert main(["download", "acme/tiny"]) == 0
    assert "1 file, 70.0 kB" in capsys.readouterr().err
    assert (folder / "tokenizer.json").read_bytes() == noise(70_000, 3)


def test_download_takes_data_sets_patterns_and_a_folder(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["download", "acme/rows", "--dataset", "--include", "*.parquet", "--to", "mine"]
    assert main(words) == 0
    assert [str(p) for p in Path("mine").rglob("*") if p.is_file()] == ["mine/data/train.parquet"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no name is given"),
        (["acme/tiny", "--hub", "github"], "there is no hub `github`"),
        (["acme/tiny", "--too", "x"], "has no flag `--too`"),
        (["acme/tiny", "--to"], "it has no value"),
        (["a/b", "c/d", "--to", "x"], "would mix their files"),
        (["../up"], "no name that a hub can have"),
        (["acme/tiny", "--revision", "../up"], "no revision that a hub can have"),
        (["acme/none"], "has no such model"),
        (["acme/none", "acme/tiny"], "has no such model"),
    ],
)
def test_download_explains_what_it_cannot_do(
    world: World, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["download", *words]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert "made a mistake" not in err
    assert bool(out) == (words == ["acme/none", "acme/tiny"])  # one failure leaves the others


@pytest.mark.slow
def test_a_checkpoint_names_the_commit_of_its_base(world: World, tmp_path: Path) -> None:
    made = tiny_chat_model(tmp_path / "made")
    world.repos["models/acme/chat"] = {p.name: p.read_bytes() for p in made.iterdir()}
    data(world, "acme/talks", train=chat_rows(tmp_path / "rows.jsonl", 9).read_bytes())
    words = "--model acme/chat --dataset acme/talks --max_steps 1 --output_dir out"
    assert main(["sft", *words.split()]) == 0
    (card,) = [read_card(folder) for folder in checkpoints(Path("out"))]
    assert card.revision == world.commit("models/acme/chat")
    assert card.model == "acme/chat"


def test_a_folder_as_hub_is_never_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_HUB", "file:///nowhere")
    assert main(["download", "acme/tiny"]) == 2
    assert not world.log


@pytest.mark.parametrize("hub", ["huggingface", "file"])
@pytest.mark.parametrize(
    "words",
    [
        ["show"],
        ["download"],
        ["download", "--dataset"],
        ["sft", "--model"],
        ["sft", "--dataset"],
        ["chat"],
    ],
    ids=" ".join,
)
def test_a_name_longer_than_a_file_name_can_be_is_a_mistake_of_the_user(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    hub: str,
) -> None:
    (tmp_path / "hub").mkdir()
    monkeypatch.setenv("SWIFT_HUB", (tmp_path / "hub").as_uri() if hub == "file" else hub)
    assert main([*words, f"{'x' * 300}/{'y' * 300}"]) == 2
    err = capsys.readouterr().err
    assert "fix:" in err and "Traceback" not in err
    assert not [asked for asked in world.log if "xxx" in asked.path]
