"""Claims about a model's voice: what of its tokens is text."""

from __future__ import annotations

from pathlib import Path

from swift.chat.speaker import Speaker
from tests.chat.voices import tiny_tokenizer

MARKS = ["[TOOL_CALLS]", "<|end|>"]


def speaker(folder: Path, source: str) -> Speaker:
    tiny_tokenizer(folder, MARKS)
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    return Speaker.load(folder)


def test_special_tokens_that_spell_calls_are_text_and_others_are_not(tmp_path: Path) -> None:
    voice = speaker(tmp_path, "{{ tools }}[TOOL_CALLS]")
    ids = voice.tokenizer.encode("[TOOL_CALLS]x<|end|>")
    assert ids[0] == 0
    assert voice.say(ids) == "[TOOL_CALLS]x"


def test_without_calls_no_special_token_is_text(tmp_path: Path) -> None:
    voice = speaker(tmp_path, "{{ messages }}")
    assert voice.say(voice.tokenizer.encode("[TOOL_CALLS]x<|end|>")) == "x"
