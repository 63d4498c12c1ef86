"""Whatever a body says, the real engine answers it or it is refused; nobody else suffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.checkpoint import served
from swift.engine.torch import Torch
from tests.kit import tiny_chat_model
from tests.serve.live import Live, serving, wait_until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tiny_chat_model(tmp_path_factory.mktemp("models") / "tiny")
    with serving(Torch(max_batch=4).open(served(str(folder)))) as server:
        yield server
        server.app.engine.close()


IDS = st.integers(0, 287)
EXTREMES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(1, 5),
    "max_tokens": st.sampled_from([1, 2, 7, 300]),
    "temperature": st.sampled_from([0, 1e-300, 1e-6, 0.5, 2]),
    "top_p": st.sampled_from([5e-324, 1e-9, 0.5, 1]),
    "top_k": st.sampled_from([-1, 0, 1, 5, 2**31 - 1]),
    "min_p": st.sampled_from([0, 0.5, 1]),
    "repetition_penalty": st.sampled_from([5e-324, 1e-9, 1, 1.5, 100]),
    "presence_penalty": st.sampled_from([-2, 0, 2]),
    "frequency_penalty": st.sampled_from([-2, 0, 2]),
    "seed": st.sampled_from([-(2**62), -1, 0, 2**62]),
    "stop": st.lists(st.text(min_size=1, max_size=3), max_size=16),
    "stop_token_ids": st.lists(IDS, max_size=400),
    "ignore_eos": st.booleans(),
    "min_tokens": st.sampled_from([0, 1, 5, 1000]),
    "logit_bias": st.dictionaries(IDS.map(str), st.sampled_from([-100, 0, 100]), max_size=300),
    "stream": st.booleans(),
    "echo": st.booleans(),
}
PROMPT = st.text(min_size=1, max_size=40) | st.lists(IDS, min_size=1, max_size=40)


@settings(max_examples=120, deadline=None)
@given(PROMPT, st.fixed_dictionaries({}, optional=EXTREMES), st.none() | st.integers(0, 20))
def test_no_text_request_is_a_mistake_of_ours(
    live: Live, prompt: Any, fields: dict[str, Any], logprobs: int | None
) -> None:
    body = {**fields, "prompt": prompt, "logprobs": logprobs}
    assert fine(live, "/v1/completions", body)


TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "x"])},
    optional={
        "content": st.text(max_size=20) | st.none() | st.integers() | st.just([]),
        "name": st.text(max_size=3) | st.integers(),
        "tool_calls": st.just([{"function": {"name": "f", "arguments": "{}"}}]) | st.integers(),
    },
)


@settings(max_examples=80, deadline=None)
@given(st.lists(TURN, max_size=4), st.fixed_dictionaries({}, optional=EXTREMES), st.booleans())
def test_no_chat_is_a_mistake_of_ours(
    live: Live, messages: Any, fields: dict[str, Any], logprobs: bool
) -> None:
    body = {**fields, "messages": messages, "logprobs": logprobs, "max_tokens": 5}
    assert fine(live, "/v1/chat/completions", body)


def fine(live: Live, path: str, body: Any) -> bool:
    """Return whether a request is answered, or refused as the client's mistake."""
    if body.get("stream"):
        text = live.text(path, body)
        return "[DONE]" in text or '"invalid_request_error"' in text
    status, _ = live.ask(path, body)
    return status in (200, 400)


def test_after_all_that_nothing_is_left(live: Live) -> None:
    def idle() -> bool:
        _, said = live.ask("/health")
        return [said["running"], said["waiting"], said["blocks"]] == [0, 0, 0]

    wait_until(idle, "all slots and blocks are free")
