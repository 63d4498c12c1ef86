"""Runs whose template is a wire, or is not what inference asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift.chat.message import Message
from swift.chat.speaker import Speaker
from swift.core.env import Ranks
from swift.core.errors import DataError
from swift.plan import Plan, resolve
from swift.recipe import read
from swift.run.folder import claim
from swift.run.train import train
from tests.kit import CHATML, chat_rows, tiny_chat_model


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with rows, and a model without a chat template."""
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    config = tiny_chat_model(tmp_path / "model") / "tokenizer_config.json"
    said = json.loads(config.read_text())
    del said["chat_template"]
    config.write_text(json.dumps(said))
    chat_rows(tmp_path / "rows.jsonl", 4)
    return tmp_path


def plan(bare: Path, template: str) -> Plan:
    named: list[tuple[str, object]] = [
        ("model", str(bare / "model")),
        ("dataset", str(bare / "rows.jsonl")),
        ("output_dir", str(bare / "out")),
        ("model.dtype", "float32"),
        ("model.template", template),
        ("max_steps", 1),
    ]
    return resolve(read(None, named, "sft"))


def test_a_checkpoint_speaks_the_wire_that_it_was_trained_with(bare: Path) -> None:
    folder, checkpoint = claim(made := plan(bare, "chatml"))
    train(made, folder, Ranks(), checkpoint, lambda event: None)
    voice = Speaker.load(folder / "checkpoint-1")
    ids = voice.chat([Message(role="user", content="a")])
    text = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert voice.tokenizer.decode(ids) == text
    assert list((bare / "cache" / "templates").iterdir())


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("auto", "has no chat template"),
        ("chatmll", "no wire `chatmll`"),
        ("odd.jinja", "goes on with"),
    ],
)
def test_a_template_that_will_not_do_is_told_before_any_step(
    bare: Path, template: str, what: str
) -> None:
    odd = bare / "odd.jinja"
    odd.write_text(CHATML.replace("assistant\n", "assistant\nSo: "))
    folder, checkpoint = claim(made := plan(bare, str(odd) if template == odd.name else template))
    with pytest.raises(DataError, match=what) as caught:
        train(made, folder, Ranks(), checkpoint, lambda event: None)
    assert caught.value.problems[0].where == "model.template"
    assert not list(folder.glob("checkpoint-*"))
