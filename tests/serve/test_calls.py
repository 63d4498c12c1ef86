"""Calls of tools through the chat route: whole and streamed, in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.engine import Delta, Request
from tests.kit import CHATML, tiny_chat_model
from tests.serve.live import Fake, Live, events, serving

CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
ASK: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hi"}],
    "tools": TOOLS,
}
SPELT = '<tool_call>\n{"name": "find", "arguments": {"what": "é"}}\n</tool_call>'
TEMPLATE = "{%- for t in tools or [] %}<tool_call>{{ t | tojson }}{% endfor %}" + CHATML


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    model: Path = tiny_chat_model(tmp_path_factory.mktemp("model"))
    (model / "chat_template.jinja").write_text(TEMPLATE)
    with serving(Fake.on(model)) as server:
        yield server


def says(live: Live, parts: Sequence[str], finish: str = "stop") -> None:
    """Let the engine say `parts` one after another."""
    engine = live.app.engine
    assert isinstance(engine, Fake)

    def answer(request: Request) -> Delta | None:
        if not request.stream:
            return Delta(text="".join(parts), ids=(1,), finish=finish)
        deliver = engine.deliver[len(engine.asked) - 1]
        for part in parts:
            deliver(Delta(text=part, ids=(1,)))
        return Delta(finish=finish)

    engine.answer = answer


def test_a_call_is_a_tool_call_and_no_text(live: Live) -> None:
    says(live, [SPELT])
    (choice,) = live.ask(CHAT, ASK)[1]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call.pop("id").startswith("call_")
    arguments = '{"what": "é"}'
    assert call == {"type": "function", "function": {"name": "find", "arguments": arguments}}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_streamed_calls_are_those_of_the_whole_answer(live: Live, size: int) -> None:
    text = f"See:\n{SPELT}\n{SPELT}"
    says(live, [text[i : i + size] for i in range(0, len(text), size)])
    chunks = [c["choices"][0] for c in events(live.port, CHAT, ASK)]
    deltas = [chunk["delta"] for chunk in chunks]
    calls = [call for d in deltas for call in d.get("tool_calls", [])]
    assert "".join(d.get("content") or "" for d in deltas) == "See:"
    assert [(c["index"], c["function"]["name"]) for c in calls] == [(0, "find"), (1, "find")]
    assert len({c["id"] for c in calls}) == 2
    assert [json.loads(c["function"]["arguments"]) for c in calls] == [{"what": "é"}] * 2
    assert [c["finish_reason"] for c in chunks][-1] == "tool_calls"


@pytest.mark.parametrize("more", [{"tool_choice": "none"}, {"tools": None}])
def test_without_tools_nothing_is_read_as_a_call(live: Live, more: dict[str, Any]) -> None:
    says(live, [SPELT])
    (choice,) = live.ask(CHAT, {**ASK, **more})[1]["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (SPELT, "stop")
    assert "tool_calls" not in choice["message"]


def test_an_answer_cut_within_a_call_is_text_and_says_so(live: Live) -> None:
    says(live, [SPELT[:30]], "length")
    (choice,) = live.ask(CHAT, ASK)[1]["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (SPELT[:30], "length")


def test_words_without_calls_end_with_stop(live: Live) -> None:
    says(live, ["a ", "<tool", "> b "])
    said = [c["choices"][0] for c in events(live.port, CHAT, ASK)]
    assert "".join(c["delta"].get("content") or "" for c in said) == "a <tool> b "
    assert said[-1]["finish_reason"] == "stop"
