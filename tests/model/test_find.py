"""Which folder a model's name leads to, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.core.errors import PlanError, UserError, WriteError
from swift.model.find import find_model, laid


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a hub with three models, from a working directory that holds none."""
    for name in ("qwen/Qwen-7B", "Acme/Pico", "Other/Twin", "Acme/twin"):
        place(tmp_path / "hub" / "models" / name)
    (tmp_path / "hub" / "models" / "Acme" / "empty").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SWIFT_HUB", f"file://{tmp_path}/hub")
    return tmp_path / "hub" / "models"


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))


def place(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return folder


@pytest.mark.parametrize(
    "id",
    [
        "qwen-7b",
        "Qwen-7B",
        "QWEN-7B-BASE",
        "qwen/Qwen-7B",
        "Qwen/Qwen-7B",
        "qwen/qwen-7b",
        "Qwen/qwen-7b-base",
    ],
)
def test_every_spelling_of_a_catalogue_name_is_one_model(
    hub: Path, tmp_path: Path, id: str
) -> None:
    assert find_model(id, tmp_path / "cache") == hub / "qwen" / "Qwen-7B"


@pytest.mark.parametrize("id", ["Acme/Pico", "acme/pico", "PICO"])
def test_a_model_of_the_hub_needs_no_catalogue(hub: Path, tmp_path: Path, id: str) -> None:
    assert find_model(id, tmp_path / "cache") == hub / "Acme" / "Pico"


def test_a_folder_wins_over_the_hub(hub: Path, tmp_path: Path) -> None:
    mine = place(tmp_path / "here" / "qwen" / "Qwen-7B")
    assert find_model("qwen/Qwen-7B", tmp_path / "cache") == mine


def test_the_embedded_model_is_found_in_any_case(no_hub: None, tmp_path: Path) -> None:
    assert find_model("NANO", tmp_path / "cache").parent == tmp_path / "cache" / "models"


def test_a_name_of_two_organisations_asks_which(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Acme/twin, Other/Twin\n.*write `Acme/twin`"):
        find_model("twin", tmp_path / "cache")
    assert find_model("other/twin", tmp_path / "cache") == hub / "Other" / "Twin"


def test_a_known_name_offline_says_where_it_was_looked_for(no_hub: None, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        find_model("qwen-7b-chat", tmp_path / "cache")
    (problem,) = caught.value.problems
    assert "`qwen-7b-chat` is Qwen/Qwen-7B-Chat, which is not in" in problem.what
    assert "HF_HUB_OFFLINE is set" in problem.what
    assert problem.fix.startswith("swift download Qwen/Qwen-7B-Chat where there is a network")


def test_a_known_name_that_the_hub_lacks_says_where_it_would_stand(
    hub: Path, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=r"no /.*/hub/models/Qwen/Qwen-14B\)"):
        find_model("qwen-14b", tmp_path / "cache")


@pytest.mark.parametrize(
    ("id", "near"),
    [("qwne-7b", "Qwen-7B"), ("nanno", "nano"), ("acme/pic", "Acme/Pico"), ("Qwen-14", "Qwen-14B")],
)
def test_an_unknown_name_gets_the_nearest(hub: Path, tmp_path: Path, id: str, near: str) -> None:
    with pytest.raises(PlanError, match=f"there is no model `{id}`.*\n.*write `{near}`"):
        find_model(id, tmp_path / "cache")


@pytest.mark.parametrize(
    ("id", "fix"),
    [
        ("qwen3", r"run `swift list models qwen3` \([0-9]+ models\)"),
        ("llama3", "run `swift list models llama3` "),
        ("mixtral", "run `swift list models mixtral` "),
        ("gpt-oss", "run `swift list models gpt-oss` "),
        ("mistral-7b", "run `swift list models mistral-7b` "),
        ("qwen2.5-vl-7b", "write `Qwen2.5-VL-7B-Instruct`"),
        ("Qwen/Qwen3-8B-Instruct", "write `Qwen/Qwen3-8B`"),
    ],
)
def test_half_a_name_gets_the_models_that_begin_so(
    hub: Path, tmp_path: Path, id: str, fix: str
) -> None:
    with pytest.raises(PlanError, match=f"fix: {fix}"):
        find_model(id, tmp_path / "cache")


@pytest.mark.parametrize("id", ["", "../hub", "~nobody-of-that-name/x", "a" * 5000, "Acme/empty"])
def test_no_name_is_too_odd_for_a_problem(hub: Path, tmp_path: Path, id: str) -> None:
    with pytest.raises(PlanError, match="there is no model"):
        find_model(id, tmp_path / "cache")


def test_an_address_that_is_no_hub_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWIFT_HUB", "https://somewhere")
    with pytest.raises(UserError, match="SWIFT_HUB"):
        find_model("qwen-7b", tmp_path / "cache")


def test_files_are_laid_where_they_can_be_and_never_by_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "one").write_text("1")
    (tmp_path / "cache").write_text("no folder")
    found = laid([tmp_path / "one"], tmp_path / "cache", "models/x")
    assert (found / "one").read_text() == "1"
    assert laid([tmp_path / "gone"], tmp_path / "cache", "models/x") == found
    with pytest.raises(WriteError):
        laid([tmp_path / "one", tmp_path / "gone"], tmp_path / "other", "models/y")
    assert [*tmp_path.glob("*/models/y")] == []
