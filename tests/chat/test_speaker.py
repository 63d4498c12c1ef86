"""Claims about a model's voice: what of its tokens is text."""

from __future__ import annotations

from pathlib import Path

from swift.chat.message import Message
from swift.chat.speaker import Speaker
from tests.chat.voices import tiny_tokenizer

MARKS = ["[TOOL_CALLS]", "<|end|>"]


def speaker(folder: Path, source: str) -> Speaker:
    tiny_tokenizer(folder, MARKS)
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    return Speaker.load(folder)


def test_of_a_model_that_speaks_in_messages_only_what_it_says_aloud_is_for_people(
    tmp_path: Path,
) -> None:
    source = (Path(__file__).parent / "jinja" / "gptoss.jinja").read_text(encoding="utf-8")
    tokens = ["channel", "message", "end", "start", "return", "call"]
    tiny_tokenizer(tmp_path, [f"<|{token}|>" for token in tokens])
    (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
    voice = Speaker.load(tmp_path)
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi"
    aloud = voice.aloud()
    said = [aloud(voice.say([id]), False) for id in voice.tokenizer.encode(text)]
    assert "".join([*said, aloud("", True)]) == "Hi"
    assert {voice.tokenizer.backend.token_to_id(f"<|{t}|>") for t in ("return", "call")} <= (
        voice.stop_ids
    )


def test_a_forced_beginning_stands_after_thinking_that_the_prompt_opens(tmp_path: Path) -> None:
    opened = "{% if add_generation_prompt %}A:<think>\n{% endif %}"
    voice = speaker(tmp_path, "{% for m in messages %}{{ m.content }}{% endfor %}" + opened)
    ids = voice.chat([Message(role="user", content="x")], begun="[TOOL_CALLS]")
    assert voice.tokenizer.decode(ids) == "xA:<think>\n</think>\n\n[TOOL_CALLS]"


def test_special_tokens_that_spell_calls_are_text_and_others_are_not(tmp_path: Path) -> None:
    voice = speaker(tmp_path, "{{ tools }}[TOOL_CALLS]")
    ids = voice.tokenizer.encode("[TOOL_CALLS]x<|end|>")
    assert ids[0] == 0
    assert voice.say(ids) == "[TOOL_CALLS]x"


def test_without_calls_no_special_token_is_text(tmp_path: Path) -> None:
    voice = speaker(tmp_path, "{{ messages }}")
    assert voice.say(voice.tokenizer.encode("[TOOL_CALLS]x<|end|>")) == "x"
