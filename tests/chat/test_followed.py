"""Claims about templates that are followed instead of rendered: the text and spans are the same."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

from swift.chat.message import Message
from swift.chat.template import Spanned, Template
from swift.chat.thinking import styled
from swift.chat.wires import jinja, wires
from swift.core.errors import DataError

JINJA = sorted((Path(__file__).parent / "jinja").glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "<e>", "pad_token": "<p>", "unk_token": "<u>"}
TEXTS = (
    "", " ", "\n", "yes", " blanks around \n", "\n\nlines\n\n", "<think>\nI see\n</think>\n\nYes",
    "</think>", "<think>", "a </think> b </think> c", "<tool_call>", "<tool_response>",
    "<tool_response>x</tool_response>", "[TOOL_CALLS]", "[INST]", "assistant", "<|im_end|>",
    "<|im_start|>assistant\n", "user", "<s>", "<e>", "\u00e9\u4f60\u597d\U0001f600", "{{ x }}",
    "{% if %}", "'\"\\", "<br>", "0",
    "<|user|>", "<|", "system", "<|channel|>final<|message|>x", "Reasoning: high", "/no_think",
    "\u2003wide\u00a0", "<|observation|>", "### Response:", "Q: ", "\r\n\t",
)  # fmt: skip
ROLES = (
    ("user", "assistant"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user", "assistant"),
    ("system", "user", "assistant", "user", "assistant", "user", "assistant"),
    ("user",),
    ("user", "user", "assistant"),
    ("user", "assistant", "assistant"),
    ("user", "assistant", "tool", "assistant"),
    ("developer", "user", "assistant"),
)


@cache
def sources() -> dict[str, str]:
    """Return every template of a model that the tests have, and every wire."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in JINJA}
    told = {f"wire-{row.name}": jinja(row, lambda mark: f"<{mark}>") for row in wires}
    return {**found, **told}


def outcome(spans: object, messages: list[Message], **more: object) -> Spanned | str:
    try:
        return spans(messages, **more)  # type: ignore[operator,no-any-return]
    except DataError as error:
        return str(error)


def conversations(count: int, seed: int) -> list[list[Message]]:
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        roles = draw.choices(ROLES, weights=[6, 6, 6, 2, 1, 1, 1, 1, 1])[0]
        plain = draw.random() < 0.5
        texts = ("yes", "what?", "two words") if plain else TEXTS
        made.append([Message(role=role, content=draw.choice(texts)) for role in roles])
    return made


@pytest.mark.parametrize("name", sorted(sources()))
def test_every_template_is_followed_as_it_renders(name: str) -> None:
    template = Template(sources()[name], TOKENS)
    for messages in conversations(150, 7):
        assert outcome(template.spans, messages) == outcome(template.rendered, messages)


@pytest.mark.parametrize("name", ["glm4moe", "wire-chatglm3", "qwen3", "wire-llama3"])
def test_an_end_that_is_left_to_the_next_turn_is_followed_too(name: str) -> None:
    template = Template(sources()[name], TOKENS, "<|user|>")
    for messages in conversations(100, 8):
        assert outcome(template.spans, messages) == outcome(template.rendered, messages)


@pytest.mark.parametrize("style", ["drop", "empty"])
def test_answers_without_reasoning_are_followed_too(style: Literal["drop", "empty"]) -> None:
    followed = styled(Template(sources()["qwen3"], TOKENS), style)
    for messages in conversations(100, 9):
        rendered = styled(Template(sources()["qwen3"], TOKENS), style)  # it has learnt nothing
        assert outcome(followed.spans, messages) == outcome(rendered.spans, messages)


def rendered_of(source: str, count: int) -> int:
    """Return how many of `count` conversations of one shape the template is run for."""
    template, runs = Template(source, TOKENS), 0

    class Counted(Template):
        def rendered(self, *said: Any, **more: Any) -> Spanned:
            nonlocal runs
            runs += 1
            return template.rendered(*said, **more)

    counted = Counted(source, TOKENS)
    for number in range(count):
        turns = [Message(role="user", content="?"), Message(role="assistant", content=f"{number}.")]
        counted.spans(turns)
    return runs


def test_most_templates_are_run_a_few_times_for_many_rows() -> None:
    runs = [rendered_of(source, 20) for name, source in sources().items() if "llava" not in name]
    assert sum(run <= 6 for run in runs) >= 0.9 * len(runs)  # rows 1, 2, 3, 5, 9 and 17


@pytest.mark.parametrize(
    "does",
    [
        "m.content[:3]", "m.content | upper", "m.content | tojson", "'%s' % m.content",
        "m.content * 2", "[m.content] | join", "m.content.replace('a', 'b')", "m | string",
        "(m.content ~ '.') | trim", "m.content | length", "m.content in 'abc'", "m.content < 'b'",
        "'{}'.format(m.content)", "m.content.title()", "m.content | list | first",
        "(m.content ~ 'x').split('x')[0]", "m.content.split('a') | length", "m.content | e",
    ],
)  # fmt: skip
def test_what_a_template_does_with_a_content_is_never_guessed(does: str) -> None:
    source = "{% for m in messages %}<{{ m.role }}>{{ " + does + " }}<e>{% endfor %}"
    template = Template(source, TOKENS)
    for text in ("abc", "cab", "Abab ", " a", "b", "", "a"):
        turns = [Message(role="user", content="x"), Message(role="assistant", content=text)]
        assert outcome(template.spans, turns) == outcome(template.rendered, turns)


def test_a_code_kept_for_marks_is_refused_in_a_row_that_could_be_followed() -> None:
    template = Template(sources()["qwen3"], TOKENS)
    for text in ("yes", "no", "well"):
        template.spans([Message(role="user", content="x"), Message(role="assistant", content=text)])
    with pytest.raises(DataError, match=r"U\+FDD0"):
        turns = [Message(role="user", content="x"), Message(role="assistant", content="a\ufdd0b")]
        template.spans(turns)
