"""Claims about conversations with thoughts and tools: what is trained is what inference asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from swift.chat.asked import WAYS, Asked
from swift.chat.message import Message
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.chat.verify import TOOL, end_left_out, tried
from swift.core.errors import DataError
from tests.chat.test_verify import KEPT, TOKENS, voice

DEEPSEEK_V3_1 = """\
{{- bos_token }}
{%- for m in messages %}
  {%- if m.role == 'system' %}{{- m.content }}
    {%- for t in tools or [] %}{{- '\\n### ' + t.function.name }}{% endfor %}
  {%- elif m.role == 'user' %}{{- '<｜User｜>' + m.content }}
  {%- elif m.role == 'tool' %}
    {{- '<｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜>' }}
  {%- else %}
    {%- if loop.previtem.role == 'user' %}{{- '<｜Assistant｜></think>' }}{% endif %}
    {{- m.content.split('</think>')[-1] }}
    {%- if m.tool_calls %}{{- '<｜tool▁calls▁begin｜>' }}
      {%- for c in m.tool_calls %}
        {{- '<｜tool▁call▁begin｜>' + c.function.name + '<｜tool▁sep｜>' }}
        {{- (c.function.arguments | tojson) + '<｜tool▁call▁end｜>' }}
      {%- endfor %}{{- '<｜tool▁calls▁end｜>' }}
    {%- endif %}
    {{- '<｜end▁of▁sentence｜>' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt and messages[-1].role == 'user' %}
  {{- '<｜Assistant｜>' + ('<think>' if enable_thinking else '</think>') }}
{%- endif %}"""
"""Ours, in the format of DeepSeek-V3.1: the prompt closes thinking, or opens it."""


def say(role: str, content: str, **more: object) -> Message:
    return Message(role=role, content=content, more=more)


CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": {"word": "x"}}}
CHAT = (
    say("system", "Be brief."),
    say("user", "First?"),
    say("assistant", "One.", reasoning_content="Hm, one."),
    say("user", "Second?"),
    say("assistant", "", reasoning_content="I look.", tool_calls=[CALL]),
    say("tool", "tall", name="look_up", tool_call_id="c1"),
    say("assistant", "Two.", reasoning_content="Tall, so two."),
)

TRAINED = {
    "qwen3": {2, 4, 6},
    "qwen3_training": {2, 4, 6},
    "qwen3_vl": {2, 4, 6},
    "qwen3_5_think": {4, 6},  # the prompt of 2 ends with <think>, which the past does not write
    "glm4moe": {2, 4, 6},
    "gptoss": {2, 4},  # the prompt of 6 has the thought before the call, which the past has not
    "DeepSeek-V3.1": {2, 4, 6},
}
"""Public templates, and which answers of the conversation stand where they are asked for."""


def spoken(name: str, folder: Path) -> tuple[Template, Tokenizer]:
    kept = {path.stem: path for path in KEPT}
    source = kept[name].read_text(encoding="utf-8") if name in kept else DEEPSEEK_V3_1
    tokenizer = voice(folder, source)
    template = Template(source, TOKENS)
    return replace(template, end=end_left_out(template, tokenizer)), tokenizer


@pytest.mark.parametrize("name", TRAINED)
def test_whatever_is_trained_follows_the_ids_of_its_prompt(name: str, tmp_path: Path) -> None:
    template, tokenizer = spoken(name, tmp_path)
    spanned = Asked.of(template).spans(CHAT, [TOOL])
    assert set(spanned.turns) == TRAINED[name]
    ((ids, marks),) = tokenizer.encode_spanned([spanned])
    assert sum(marks)
    for turn, (begin, _) in zip(spanned.turns, spanned.spans, strict=True):
        prompts = asked(template, tokenizer, CHAT[:turn])
        assert any(ids[: len(prompt)] == prompt for prompt in prompts)
        assert any(spanned.text[:begin].startswith(tokenizer.decode(p)[:begin]) for p in prompts)


def asked(template: Template, tokenizer: Tokenizer, before: Sequence[Message]) -> list[list[int]]:
    """Return the ids that inference may ask with."""
    return [
        tokenizer.encode(template.render(before, [TOOL], generation_prompt=True, **way))
        for way in WAYS
    ]


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    template, _ = spoken("gptoss", tmp_path)
    limited = Asked.of(template)
    assert limited.describe() == ""
    for _ in range(2):
        limited.spans(CHAT, [TOOL])
    assert limited.describe().startswith("2 answers in 2 conversations are not trained")
    assert limited.fingerprint == template.fingerprint


def test_a_conversation_without_thoughts_loses_nothing(tmp_path: Path) -> None:
    template, _ = spoken("qwen3", tmp_path)
    plain = [replace(m, more={}) for m in CHAT[:3]]
    assert Asked.of(template).spans(plain) == template.spans(plain)


@pytest.mark.parametrize("name", ["deepseekv3", "deepseek_r1_distill"])
def test_a_template_that_opens_a_thought_and_never_writes_one_is_refused(
    name: str, tmp_path: Path
) -> None:
    """DeepSeek-R1's own Jinja drops all reasoning, and its prompt ends with <think>."""
    template, _ = spoken(name, tmp_path)
    with pytest.raises(DataError, match="goes on with '<think>"):
        tried(template, tmp_path, None)
