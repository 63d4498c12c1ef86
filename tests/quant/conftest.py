"""The model whose weights are packed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("bnb") / "model", tied=False, hidden=64)
