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


FORCED = {"type": "function", "function": {"name": "find"}}
BEGUN = '<tool_call>\n{"name": "find", "arguments": '
TWO = [*TOOLS, {"type": "function", "function": {"name": "read"}}]


def prompt(live: Live) -> str:
    """Return what the engine was asked last."""
    engine = live.app.engine
    assert isinstance(engine, Fake)
    return engine.speaker.tokenizer.decode(engine.asked[-1].ids)


@pytest.mark.parametrize("choice", ["required", FORCED])
def test_a_demanded_call_is_begun_by_the_prompt(live: Live, choice: Any) -> None:
    says(live, ['{"what": 1}}\n</tool_call>'])
    (said,) = live.ask(CHAT, {**ASK, "tool_choice": choice})[1]["choices"]
    assert prompt(live).endswith(f"<|im_start|>assistant\n{BEGUN}")
    (call,) = said["message"]["tool_calls"]
    assert call["function"] == {"name": "find", "arguments": '{"what": 1}'}
    assert (said["message"]["content"], said["message"]["refusal"]) == (None, None)
    assert said["finish_reason"] == "tool_calls"


def test_of_several_tools_the_model_names_one(live: Live) -> None:
    says(live, ['read", "arguments": {}}</tool_call> and so on'])
    (said,) = live.ask(CHAT, {**ASK, "tools": TWO, "tool_choice": "required"})[1]["choices"]
    assert prompt(live).endswith('<tool_call>\n{"name": "')
    assert [c["function"]["name"] for c in said["message"]["tool_calls"]] == ["read"]
    assert said["message"]["content"] is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rest", ["no JSON", 'other", "arguments": {}}</tool_call>', ""])
def test_a_demanded_call_that_does_not_come_is_a_refusal(
    live: Live, rest: str, stream: bool
) -> None:
    says(live, [rest])
    ask = {**ASK, "tools": TWO, "tool_choice": "required"}
    if stream:
        chunks = [c["choices"][0] for c in events(live.port, CHAT, ask)]
        said = "".join(c["delta"].get("refusal") or "" for c in chunks)
        assert not any(c["delta"].get("content") or c["delta"].get("tool_calls") for c in chunks)
        assert chunks[-1]["finish_reason"] == "stop"
    else:
        (choice,) = live.ask(CHAT, ask)[1]["choices"]
        said = choice["message"]["refusal"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (None, "stop")
    assert said == "the model was to call `find` or `read`, and spelt no such call"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"tool_choice": "required", "tools": None}, "goes with `tools`"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "names `x`"),
        ({"tool_choice": {"type": "function"}}, "or a function by its name"),
        ({"tool_choice": {"type": "allowed_tools"}}, "or a function by its name"),
        ({"tool_choice": "perhaps"}, "or a function by its name"),
        ({"tool_choice": 7}, "tool_choice"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(live: Live, more: dict[str, Any], says: str) -> None:
    status, body = live.ask(CHAT, {**ASK, **more})
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert body["error"]["param"].startswith("tool_choice")
    assert says in body["error"]["message"]


@pytest.mark.parametrize(("parallel", "count"), [(False, 1), (True, 2), (None, 2)])
def test_without_parallel_calls_the_first_one_counts(
    live: Live, parallel: bool | None, count: int
) -> None:
    says(live, [f"{SPELT}\n{SPELT}"])
    (choice,) = live.ask(CHAT, {**ASK, "parallel_tool_calls": parallel})[1]["choices"]
    assert len(choice["message"]["tool_calls"]) == count
