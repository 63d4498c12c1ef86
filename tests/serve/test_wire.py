"""Bodies of requests: what they mean, and how a wrong one is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.engine import Sampling
from swift.serve.refusal import Refusal
from swift.serve.wire import Body, ChatBody, CompletionBody, read

ASK = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ChatBody:
    return read(ChatBody, json.dumps({"messages": ASK, **fields}).encode())


def text(**fields: Any) -> CompletionBody:
    return read(CompletionBody, json.dumps({"prompt": "hi", **fields}).encode())


def refusal(make: Any, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        make(**fields)
    assert caught.value.status == 400
    return caught.value


def test_every_field_reaches_the_sampling() -> None:
    said = {
        **{"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": 3},
        **{"repetition_penalty": 1.1, "presence_penalty": -1, "frequency_penalty": 2},
        **{"stop": ["a", "b"], "stop_token_ids": [5], "ignore_eos": True, "min_tokens": 2},
        **{"max_tokens": 9, "logit_bias": {"5": -100}},
    }
    meant = Sampling(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in said.items() if k != "logit_bias"},
        logit_bias={5: -100.0},
    )
    assert chat(**said).sampling({}) == meant
    assert text(**said).sampling({}) == meant


def test_the_request_wins_over_the_model_and_the_model_over_openai() -> None:
    model = {"temperature": 0.7, "top_p": 0.8}
    sampling = chat(top_p=0.5).sampling(model)
    assert (sampling.temperature, sampling.top_p) == (0.7, 0.5)
    assert chat().sampling({}).temperature == 1.0


def test_a_completion_has_sixteen_tokens_by_default_and_a_chat_what_the_context_holds() -> None:
    assert text().sampling({}).max_tokens == 16
    assert text(max_tokens=None).sampling({}).max_tokens is None
    assert chat().sampling({}).max_tokens is None
    assert chat(max_completion_tokens=4).sampling({}).max_tokens == 4


def test_log_probabilities_are_a_number_in_one_api_and_a_switch_in_the_other() -> None:
    assert text(logprobs=0).told == 0
    assert text().told is None
    assert chat(logprobs=True).told == 0
    assert chat(logprobs=True, top_logprobs=20).told == 20
    assert chat(logprobs=False).told is None


def test_one_stop_text_is_a_list_of_one() -> None:
    assert text(stop="\n").sampling({}).stop == ("\n",)


@pytest.mark.parametrize(
    ("said", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [(1, 2)]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
        ([], [()]),
    ],
)
def test_a_prompt_has_four_shapes(said: Any, prompts: Any) -> None:
    assert text(prompt=said).prompts() == prompts


@pytest.mark.parametrize("said", [None, 1, {"a": 1}, [1, "a"], [[1], "a", 2], [True], [-1], [1.0]])
def test_a_prompt_has_no_other_shape(said: Any) -> None:
    assert refusal(lambda: text(prompt=said).prompts()).param == "prompt"


def test_parts_of_text_are_one_text_and_other_keys_are_the_templates() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    [message] = chat(messages=[{"role": "user", "content": parts, "name": "Al"}]).conversation()
    assert (message.content, message.more) == ("ab", {"name": "Al"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": "2"}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": ""}, "stop[0]"),
        ({"stop": [1]}, "stop[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"seed": 2**63}, "seed"),
        ({"model": 1}, "model"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(chat, **fields).param == param
    assert refusal(text, **fields).param == param


@pytest.mark.parametrize(
    ("make", "fields", "param"),
    [
        (chat, {"top_logprobs": 2}, "top_logprobs"),
        (chat, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (chat, {"messages": []}, "messages"),
        (chat, {"messages": [{"content": "x"}]}, "messages[0].role"),
        (chat, {"messages": [*ASK, {"role": "assistant", "content": "x"}]}, "messages"),
        (chat, {"chat_template_kwargs": {"bos_token": "x"}}, "chat_template_kwargs.bos_token"),
        (text, {"logprobs": 21}, "logprobs"),
    ],
)
def test_each_api_has_its_own_bounds(make: Any, fields: dict[str, Any], param: str) -> None:
    assert refusal(make, **fields).param == param


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (chat, {"response_format": {"type": "json_object"}}),
        (chat, {"function_call": {"name": "find"}}),
        (chat, {"modalities": ["audio"]}),
        (text, {"suffix": "end"}),
        (text, {"best_of": 2}),
        (text, {"echo": True, "logprobs": 1}),
    ],
)
def test_what_openai_knows_and_we_lack_is_refused_by_name(
    make: Any, fields: dict[str, Any]
) -> None:
    refused = refusal(make, **fields)
    assert refused.param == next(iter(fields))
    assert refused.code == "unsupported_parameter"


def test_what_asks_for_nothing_we_lack_is_let_through() -> None:
    assert chat(response_format={"type": "text"}, tool_choice="auto", user="u", new_field=[1])
    assert text(suffix=None, best_of=2, n=2)


def test_only_text_is_taken() -> None:
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    body = chat(messages=[{"role": "user", "content": image}])
    assert refusal(body.conversation).param == "messages[0].content[0]"


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert refusal(chat, n=0, temperature=9).message.count("`") == 4


def test_tools_are_offered_unless_they_are_refused() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    assert chat(tools=[tool]).offered() == (tool,)
    assert chat(tools=[tool], tool_choice="none").offered() == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted({*ChatBody.model_fields, *CompletionBody.model_fields, "suffix"}))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, JSON, max_size=6), st.booleans(), st.sampled_from([0, 1, 2]))
def test_any_json_is_taken_or_refused(fields: dict[str, Any], sound: bool, kind: int) -> None:
    cls: type[Body] = ChatBody if kind else CompletionBody
    whole = {**fields, "messages": ASK, "prompt": "x"} if sound else fields
    try:
        body = read(cls, json.dumps(whole).encode())
        body.sampling({})
        if isinstance(body, ChatBody):
            body.conversation()
        elif isinstance(body, CompletionBody):
            body.prompts()
    except Refusal as refused:
        assert refused.status == 400
        assert refused.message


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        read(ChatBody, raw)
