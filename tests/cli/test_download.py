"""`swift download` looks at names and folders before it looks for a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.cli import download
from swift.cli.main import main
from tests.kit import tiny_model


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> Path:
        raise AssertionError("the network is asked")

    monkeypatch.delenv("SWIFT_HUB", raising=False)
    monkeypatch.setattr(download, "fetch", fetch)


@pytest.mark.usefixtures("no_network")
def test_the_embedded_model_and_a_folder_are_here_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_model(tmp_path / "mine")
    assert main(["download", "nano", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert str(folder) in out
    assert err.count("is here already") == 2


@pytest.mark.usefixtures("no_network")
def test_a_mistyped_name_is_told_before_any_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "qwne3-0.6b"]) != 0
    assert "write `Qwen3-0.6B`" in capsys.readouterr().err
