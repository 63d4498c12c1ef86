"""Claims about thinking: kept, dropped, or empty as a prompt without thinking gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from swift.chat.message import Message
from swift.chat.template import Template
from swift.chat.thinking import styled
from swift.core.errors import DataError
from tests.kit import CHATML

JINJA = Path(__file__).parent / "jinja"
TOKENS = {"bos_token": "<s>", "eos_token": "<e>"}
SWITCHED = ("qwen3", "qwen3_5_think", "qwen3_6", "glm4moe")
"""Templates with a switch for thinking."""

FIELD = Message(role="assistant", content="Tree.", more={"reasoning_content": "It grows."})
TAGS = Message(role="assistant", content="<think>\nIt grows.\n</think>\n\nTree.")


def trained(
    name: str, style: Literal["keep", "drop", "empty"], answer: Message
) -> tuple[str, str, str]:
    """Return the whole text, what comes before the last answer, and what is trained of it."""
    source = (JINJA / f"{name}.jinja").read_text(encoding="utf-8")
    template = styled(Template(source, TOKENS), style)
    spanned = template.spans([Message(role="user", content="a"), answer])
    begin, end = spanned.spans[-1]
    return spanned.text, spanned.text[:begin], spanned.text[begin:end]


@pytest.mark.parametrize("answer", [FIELD, TAGS], ids=["field", "tags"])
@pytest.mark.parametrize("name", SWITCHED)
def test_kept_reasoning_is_trained_and_dropped_reasoning_is_gone(
    name: str, answer: Message
) -> None:
    assert "It grows." in trained(name, "keep", answer)[2]
    for style in ("drop", "empty"):
        assert "It grows." not in trained(name, style, answer)[0]


@pytest.mark.parametrize("answer", [FIELD, TAGS], ids=["field", "tags"])
@pytest.mark.parametrize("name", SWITCHED)
def test_empty_trains_the_answer_to_the_prompt_without_thinking(name: str, answer: Message) -> None:
    source = (JINJA / f"{name}.jinja").read_text(encoding="utf-8")
    _, before, said = trained(name, "empty", answer)
    asked = [Message(role="user", content="a")]
    prompt = Template(source, TOKENS).render(asked, generation_prompt=True, enable_thinking=False)
    assert before == prompt
    assert said.lstrip().startswith("Tree.")


def test_a_template_without_the_switch_says_what_to_write() -> None:
    with pytest.raises(DataError) as caught:
        styled(Template(CHATML, TOKENS), "empty")
    assert caught.value.problems[0].fix == "data.thinking: drop"
    assert caught.value.problems[0].where == "data.thinking"


def test_styles_tell_their_templates_apart() -> None:
    source = (JINJA / "qwen3.jinja").read_text(encoding="utf-8")
    prints = {
        styled(Template(source, TOKENS), style).fingerprint for style in ("keep", "drop", "empty")
    }
    assert len(prints) == 3
