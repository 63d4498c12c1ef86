"""The tables of docs/templates.md are what the templates give today."""

from __future__ import annotations

import pytest
from tools.templates import DOC, made


@pytest.mark.slow
def test_the_tables_of_the_docs_are_up_to_date() -> None:
    pytest.importorskip("trl")
    text = DOC.read_text(encoding="utf-8")
    assert made(text) == text, "python -m tools.templates"
