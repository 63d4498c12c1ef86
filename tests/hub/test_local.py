"""What a folder laid out as a hub answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.core.env import hub_root
from swift.core.errors import MachineError, UserError
from swift.hub.local import look_up, names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("models/qwen/Qwen-7B", "models/Other/qwen-7b", "datasets/Org/rows"):
        (tmp_path / "hub" / name).mkdir(parents=True)
    (tmp_path / "outside" / "secret").mkdir(parents=True)
    return tmp_path / "hub"


@pytest.mark.parametrize("id", ["qwen/Qwen-7B", "Qwen/qwen-7b", "QWEN/QWEN-7B"])
def test_a_name_is_found_in_any_case(root: Path, id: str) -> None:
    assert look_up(root, "models", id) == (root / "models/qwen/Qwen-7B",)


def test_a_name_alone_is_looked_for_in_every_organisation(root: Path) -> None:
    assert look_up(root, "models", "qwen-7b") == (
        root / "models/Other/qwen-7b",
        root / "models/qwen/Qwen-7B",
    )


def test_the_exact_spelling_comes_first(root: Path) -> None:
    (root / "models/qwen/qwen-7b").mkdir()
    assert [p.name for p in look_up(root, "models", "qwen/qwen-7b")] == ["qwen-7b", "Qwen-7B"]
    assert [p.name for p in look_up(root, "models", "qwen/Qwen-7B")] == ["Qwen-7B", "qwen-7b"]


def test_models_and_data_sets_are_apart(root: Path) -> None:
    assert look_up(root, "models", "org/rows") == ()
    assert look_up(root, "datasets", "org/rows") == (root / "datasets/Org/rows",)


@pytest.mark.parametrize(
    "id", ["../outside", "..", ".", "", "/", "//", "../../outside", "/etc", "qwen/..", "a" * 5000]
)
def test_no_id_leads_out_of_the_hub(root: Path, id: str) -> None:
    assert look_up(root, "models", id) == ()


def test_a_link_out_of_the_hub_is_refused_with_the_folder_to_give(root: Path) -> None:
    (root / "models/qwen/linked").symlink_to(root.parent / "outside")
    with pytest.raises(UserError, match=r"leads out of the hub\n.*give the folder: .*outside"):
        look_up(root, "models", "qwen/linked")


def test_a_link_inside_the_hub_is_followed(root: Path) -> None:
    (root / "models/qwen/alias").symlink_to(root / "models/qwen/Qwen-7B")
    assert look_up(root, "models", "qwen/alias") == (root / "models/qwen/Qwen-7B",)


def test_a_hub_lists_its_names(root: Path) -> None:
    assert names(root, "models") == ["Other/qwen-7b", "qwen/Qwen-7B"]
    assert names(root / "nothing", "models") == []


def test_a_hub_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"SWIFT_HUB: .* is no folder"):
        look_up(tmp_path / "none", "models", "a/b")


def test_a_hub_that_may_not_be_read_is_the_machines_problem(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(MachineError, match="models cannot be read: Permission denied"):
        look_up(root, "models", "a/b")


@pytest.mark.parametrize("said", ["file:///my%20hub", "file://localhost/my hub"])
def test_the_hub_is_named_by_a_file_address(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("SWIFT_HUB", said)
    assert hub_root() == Path("/my hub")


@pytest.mark.parametrize("said", ["modelscop", "https://hub.org/x", "file://dir/x", "/hub"])
def test_any_other_address_says_what_to_write(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("SWIFT_HUB", said)
    with pytest.raises(UserError, match=r"is no folder.*\n.*SWIFT_HUB=file:///folder"):
        hub_root()


def test_no_hub_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    assert hub_root() is None
