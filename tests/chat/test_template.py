"""Claims about chat templates: what is rendered, what the assistant says in it, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.chat.message import Message
from swift.chat.source import load
from swift.chat.template import Spanned, Template
from swift.core.errors import DataError

TOKENS = {"bos_token": "<s>", "eos_token": "<|im_end|>"}

CHATML = """\
{%- for m in messages %}
<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

STRIPPED = """\
{{- bos_token }}
{%- for message in messages %}
    {%- set head = '<|h|>' + message['role'] + '<|/h|>\\n\\n' %}
    {{- head + message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|h|>assistant<|/h|>\\n\\n' }}{% endif %}"""

THINKING = """\
{%- macro body(m) %}{% if m.content is string %}{{ m.content }}{% endif %}{% endmacro %}
{%- for m in messages %}
    {%- set content = body(m) %}
    {%- if m.role == 'assistant' %}
        {%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.last %}{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""

PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ eos_token }}"


LETTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters="\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4"
)


@cache
def template_of(source: str) -> Template:
    return Template(source, TOKENS)


def chat(*texts: str) -> list[Message]:
    """Return turns of user and assistant by turns."""
    return [
        Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts)
    ]


def said(spanned: Spanned) -> list[str]:
    return [spanned.text[begin:end] for begin, end in spanned.spans]


def test_an_answer_is_its_content_and_the_end_of_its_turn() -> None:
    spanned = Template(CHATML, TOKENS).spans(chat("a", "b", "c", "d e"))
    assert said(spanned) == ["b<|im_end|>\n", "d e<|im_end|>\n"]
    assert spanned.turns == (1, 3)


def test_a_header_written_in_one_piece_with_its_answer_is_cut_off() -> None:
    assert said(Template(STRIPPED, TOKENS).spans(chat("a", " b "))) == ["b<|eot|>"]


def test_thinking_that_the_template_opens_is_the_assistants() -> None:
    turns = [*chat("a", "b", "c"), Message(role="assistant", content="<think>x</think>d")]
    assert said(Template(THINKING, TOKENS).spans(turns)) == [
        "b<|im_end|>\n",
        "<think>\n\n</think>\n\nd<|im_end|>\n",
    ]


def test_an_end_of_text_after_the_last_turn_is_the_assistants() -> None:
    assert said(Template(PLAIN, TOKENS).spans(chat("a", "b")))[-1].endswith("<|im_end|>")


def test_a_template_with_marks_is_taken_at_its_word() -> None:
    source = (
        "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' and loop.last %}"
        "{%- generation -%}{{ m.content }}{%- endgeneration -%}{% else %}{{ m.content }}{% endif %}"
        "<end>{% endfor %}"
    )
    spanned = Template(source, TOKENS).spans(chat("a", "b", "c", "d"))
    assert (said(spanned), spanned.turns) == (["d"], (3,))


def test_a_conversation_without_answers_has_no_spans() -> None:
    assert Template(CHATML, TOKENS).spans(chat("a")).spans == ()


def answer(source: str, content: str, last: bool) -> str:
    """Return by hand what the assistant says."""
    if source == CHATML:
        return content + "<|im_end|>\n"
    if source == STRIPPED:
        return content.strip() + "<|eot|>"
    if source == PLAIN:  # no generation prompt gives the header: the model has to say it
        return "assistant: " + content + "\n" + "<|im_end|>" * last
    thought = "<think>\n\n</think>\n\n" * last
    return thought + content.split("</think>")[-1] + "<|im_end|>\n"


@pytest.mark.parametrize("source", [CHATML, STRIPPED, THINKING, PLAIN])
@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        st.one_of(
            st.text(LETTERS),
            st.sampled_from(["", "assistant", "<|im_start|>assistant\n", "<|im_end|>", " b "]),
            st.sampled_from(["<|h|>assistant<|/h|>\n\n", "<think>\na</think>b", "\n\n", "a"]),
        ),
        min_size=2,
        max_size=6,
    )
)
def test_whatever_is_said_the_spans_are_what_a_hand_would_mark(
    source: str, texts: list[str]
) -> None:
    template = template_of(source)
    messages = chat(*texts)
    spanned = template.spans(messages)
    turns = [i for i, m in enumerate(messages) if m.role == "assistant"]
    last = len(messages) - 1
    assert spanned.text == template.render(messages)
    assert list(spanned.turns) == turns
    assert said(spanned) == [answer(source, texts[i], i == last) for i in turns]


def test_rendering_with_the_generation_prompt_begins_with_the_conversation() -> None:
    template = Template(CHATML, TOKENS)
    plain = template.render(chat("a"))
    assert template.render(chat("a"), generation_prompt=True) == plain + "<|im_start|>assistant\n"


def test_json_in_templates_keeps_letters_and_signs_as_they_are() -> None:
    text = Template("{{ messages[0] | tojson }}", {}).render([Message(role="user", content="é<'>")])
    assert text == '{"role": "user", "content": "é<\'>"}'


def test_a_refusal_is_told_in_the_templates_words() -> None:
    with pytest.raises(DataError, match="only two turns"):
        Template("{{ raise_exception('only two turns') }}", {}).render(chat("a"))


def test_a_mistake_in_a_template_names_its_line() -> None:
    with pytest.raises(DataError, match="line 2: not Jinja"):
        Template("{% for m in messages %}\n{{ m. }}", {}).render(chat("a"))


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{{ messages[0].content }}{{ messages[1].content }}",
    ],
)
def test_an_answer_that_is_left_out_or_not_found_is_named(source: str) -> None:
    with pytest.raises(DataError, match="message 2, an answer"):
        Template(source, TOKENS).spans(chat("a", "b"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    with pytest.raises(DataError, match="refuses"):
        Template(source, {}).render(chat("a"))


def test_a_text_with_a_code_kept_for_marks_is_refused_where_it_would_mislead() -> None:
    template = Template(CHATML, TOKENS)
    assert "\ufdd3" in template.render(chat("a\ufdd3", "b"))
    with pytest.raises(DataError, match="FDD0"):
        template.spans(chat("a\ufdd3", "b"))


def test_fingerprints_tell_templates_and_tokens_apart() -> None:
    prints = {
        Template(CHATML, TOKENS).fingerprint,
        Template(PLAIN, TOKENS).fingerprint,
        Template(CHATML, {}).fingerprint,
    }
    assert len(prints) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", p) for p in prints)


def test_a_jinja_file_goes_before_the_config_and_a_named_file_before_both(tmp_path: Path) -> None:
    config = {"chat_template": "config", "eos_token": {"content": "<e>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load(tmp_path) == Template("config", {"eos_token": "<e>"})
    (tmp_path / "chat_template.jinja").write_text("file")
    assert load(tmp_path).source == "file"
    (tmp_path / "mine.jinja").write_text("mine")
    assert load(tmp_path, tmp_path / "mine.jinja").source == "mine"


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>"}))
    assert load(tmp_path) == Template("d", {"bos_token": "<s>"})


def test_a_folder_without_a_template_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no chat template") as caught:
        load(tmp_path)
    assert "task: text" in caught.value.problems[0].fix
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path, tmp_path / "missing.jinja")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        load(tmp_path)


def test_neither_torch_nor_transformers_is_loaded() -> None:
    code = (
        "import sys; from swift.chat import template, tokenize;"
        "from swift.chat.message import Message as M;"
        "template.Template('{% for m in messages %}{{ m.content }}{% endfor %}', {})"
        ".spans([M(role='assistant', content='x')]);"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arguments_as_text_are_an_object_to_templates_and_stay_that_text() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    turns = [Message(role="assistant", more={"tool_calls": [call]})]
    arguments = "messages[0].tool_calls[0].function.arguments"
    for source, text in (
        (f"{{{{ {arguments} | tojson }}}}", '{"x":1}'),
        (f"{{{{ 'a' + {arguments} + 'b' }}}}", 'a{"x":1}b'),
        (f"{{% for k, v in {arguments} | items %}}{{{{ k }}}}={{{{ v }}}}{{% endfor %}}", "x=1"),
        (f"{{{{ {arguments} is string }}}}", "False"),
    ):
        assert Template(source, {}).render(turns) == text
