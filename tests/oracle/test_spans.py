"""Answer spans found by rendering equal the marks that TRL wrote into its templates by hand."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.chat.message import Message
from swift.chat.template import Template
from swift.core.errors import DataError

trl = pytest.importorskip("trl")

FOLDER = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = sorted(FOLDER.glob("*_training.jinja"))
TOKENS = {"bos_token": "<bos>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "City"}},
                "required": ["city"],
            },
        },
    }
]
CALL = [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]

ODD = (
    *("assistant", "user", "model", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "[/INST]"),
    *(
        "<start_of_turn>model\n",
        "<tool_call>",
        "<|channel|>final",
        "<|eot_id|>",
        "{{ x }}",
        "<bos>",
    ),
    *("\n", "\n\n", "  ", "\t", "", "x", "hello", "é猫🙂"),
)
"""What drawn texts are made of."""

DIFFERENT = {
    "deepseek_r1_distill_training.jinja": "marks the header `<｜Assistant｜>`, which "
    "the generation prompt gives the model: it never has to say it",
    "deepseekv3_training.jinja": "the same header",
}
"""Templates whose marks we do not follow, and why."""


def say(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


CHATS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None]] = {
    "one turn": ([say("user", "Hi"), say("assistant", "Hello there")], None),
    "equal answers": (
        [say("user", "Hi"), say("assistant", "Hello"), say("user", "?"), say("assistant", "Hello")],
        None,
    ),
    "system, three turns, unicode": (
        [
            say("system", "Be kind"),
            say("user", "Hi"),
            say("assistant", "你好, 世界 🙂"),
            say("user", "a"),
            say("assistant", "b"),
            say("user", "c"),
            say("assistant", "d\n\ne"),
        ],
        None,
    ),
    "blanks and words of the template": (
        [
            say("user", "x"),
            say("assistant", "  blanks  "),
            say("user", "y"),
            say("assistant", "assistant user <|im_end|>x"),
        ],
        None,
    ),
    "an empty answer": (
        [say("user", "x"), say("assistant", ""), say("user", "y"), say("assistant", "z")],
        None,
    ),
    "reasoning": (
        [
            say("user", "x"),
            say("assistant", "y", reasoning_content="because"),
            say("user", "z"),
            say("assistant", "w", reasoning_content="since"),
        ],
        None,
    ),
    "reasoning in the content": (
        [
            say("user", "x"),
            say("assistant", "<think>\nbecause\n</think>\n\ny"),
            say("user", "z"),
            say("assistant", "<think>\nsince\n</think>\n\nw"),
        ],
        None,
    ),
    "a tool call": (
        [
            say("user", "weather?"),
            say("assistant", "", tool_calls=CALL),
            say("tool", "sunny", name="get_weather"),
            say("assistant", "It is sunny"),
        ],
        TOOLS,
    ),
    "a tool call with words, and another turn": (
        [
            say("user", "weather?"),
            say("assistant", "Let me see", tool_calls=CALL),
            say("tool", "sunny", name="get_weather"),
            say("assistant", "It is sunny"),
            say("user", "ok"),
            say("assistant", "bye"),
        ],
        TOOLS,
    ),
}


def unmarked(source: str) -> str:
    """Take the marks out; blocks stay blocks, so that blanks around them are cut alike."""
    source = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", source)
    return re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", source)


def theirs(
    source: str, chat: Sequence[Mapping[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[str, set[int]] | None:
    """Return (text, marked characters) by transformers' renderer; None where it refuses."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts, marks = render_jinja_template(
            conversations=[chat],
            tools=tools,
            chat_template=source,
            return_assistant_tokens_mask=True,
            **TOKENS,
        )
    except Exception:
        return None
    return texts[0], characters(marks[0])


def characters(spans: Sequence[tuple[int, int]]) -> set[int]:
    return {i for begin, end in spans for i in range(begin, end)}


def ours(
    template: Template, chat: Sequence[Mapping[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[str, set[int]]:
    messages = [
        Message(
            role=m["role"],
            content=m["content"],
            more={k: v for k, v in m.items() if k not in ("role", "content")},
        )
        for m in chat
    ]
    found = template.spans(messages, tools or ())
    return found.text, characters(found.spans)


def test_there_are_templates_to_compare_with() -> None:
    assert len(TEMPLATES) >= 31
    assert len(DIFFERENT) <= 3


def drawn(seed: int, count: int) -> dict[str, tuple[list[dict[str, Any]], Any]]:
    """Return random chats of blanks, odd signs and the templates' own words."""
    draw = random.Random(seed)
    chats = {}
    for number in range(count):
        tools = TOOLS if draw.random() < 0.3 else None
        chat = [say("system", odd(draw))] if draw.random() < 0.3 else []
        for _ in range(draw.randint(1, 3)):
            chat.append(say("user", odd(draw)))
            more = {"reasoning_content": odd(draw)} if draw.random() < 0.3 else {}
            if tools and draw.random() < 0.6:
                calls = CALL * draw.randint(1, 2)
                chat.append(say("assistant", odd(draw), tool_calls=calls, **more))
                chat += [say("tool", odd(draw), name="get_weather") for _ in calls]
            chat.append(say("assistant", odd(draw), **more))
        chats[f"drawn {number}"] = (chat, tools)
    return chats


def odd(draw: random.Random) -> str:
    return "".join(draw.choices(ODD, k=draw.randint(0, 4)))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_spans_are_trls_marks(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    marked, plain = Template(source, TOKENS), Template(unmarked(source), TOKENS)
    compared = 0
    for name, (chat, tools) in {**CHATS, **drawn(seed=0, count=30)}.items():
        expected = theirs(source, chat, tools)
        if expected is None:
            with pytest.raises(DataError):
                ours(plain, chat, tools)
            continue
        compared += bool(expected[1])
        text, said = ours(plain, chat, tools)
        assert text == expected[0], name
        if path.name in DIFFERENT:
            dropped = expected[1] - said
            assert not said - expected[1], name
            assert {text[i] for i in dropped} <= set("<｜Assistant｜>"), name
        else:
            assert said == expected[1], name
        assert ours(marked, chat, tools) == expected, name  # its own marks are taken as they are
    assert compared > 10 or path.stem == "llava_next_training"  # which wants content in parts
