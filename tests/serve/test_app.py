"""The routes, in front of an engine that does what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from swift import __version__
from swift.engine import Delta, Request, TokenLogprob
from swift.recipe.sections import Serve
from swift.serve.defaults import sampling_defaults
from swift.serve.tokens import Tokens
from tests.kit import tiny_chat_model
from tests.serve.live import Fake, Live, events, post, serving, wait_until

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def live(model: Path) -> Iterator[Live]:
    with serving(Fake.on(model)) as server:
        yield server


@pytest.fixture
def fake(live: Live) -> Iterator[Fake]:
    """The engine, as it is before a test tells it something."""
    engine = live.app.engine
    assert isinstance(engine, Fake)
    fresh = replace(engine, asked=[], cancelled=[], deliver={}, waiting=0)
    fresh.answer = lambda request: Delta(text="yes", ids=(1, 2), finish="stop")
    live.app.engine = fresh
    yield fresh
    live.app.engine = engine


def test_a_chat_is_answered_in_openais_shape(live: Live, fake: Fake) -> None:
    status, said = live.ask(CHAT, ASK)
    assert status == 200
    assert said.pop("id").startswith("chatcmpl-")
    assert isinstance(said.pop("created"), int)
    size = len(fake.asked[0].ids)
    assert said == {
        "object": "chat.completion",
        "model": "tiny",
        "system_fingerprint": f"swift-{__version__}",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "yes", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": size, "completion_tokens": 2, "total_tokens": size + 2},
    }


def test_the_engine_gets_the_templates_ids(live: Live, fake: Fake) -> None:
    live.ask(CHAT, ASK)
    text = fake.speaker.tokenizer.decode(fake.asked[0].ids)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert not fake.asked[0].stream


def test_prompts_times_n_are_answered_in_order_with_seeds_in_a_row(live: Live, fake: Fake) -> None:
    fake.answer = lambda request: Delta(text=str(request.sampling.seed), ids=(1,), finish="length")
    _, said = live.ask(TEXT, {"prompt": ["a", "of the"], "n": 2, "seed": 7, "echo": True})
    assert [c["text"] for c in said["choices"]] == ["a7", "a8", "of the7", "of the8"]
    assert [c["index"] for c in said["choices"]] == [0, 1, 2, 3]
    prompts = [tuple(request.ids) for request in fake.asked]
    assert prompts[0] == prompts[1] != prompts[2] == prompts[3]
    assert said["usage"]["prompt_tokens"] == len(prompts[0]) + len(prompts[2])
    assert said["usage"]["completion_tokens"] == 4


def test_tokens_are_a_prompt_as_they_stand(live: Live, fake: Fake) -> None:
    _, said = live.ask(TEXT, {"prompt": [70, 71], "echo": True})
    assert fake.asked[0].ids == (70, 71)
    assert said["choices"][0]["text"] == fake.speaker.tokenizer.decode([70, 71]) + "yes"


def test_letters_are_not_escaped(live: Live, fake: Fake) -> None:
    fake.answer = lambda request: Delta(text="你好 🙂", ids=(1,), finish="stop")
    with post(live.port, CHAT, ASK) as sock, HTTPResponse(sock) as response:
        response.begin()
        assert "你好 🙂".encode() in response.read()


def halves(fake: Fake) -> None:
    """Answer in two deltas, the last of which has no text."""

    def answer(request: Request) -> None:
        deliver = fake.deliver[len(fake.asked) - 1]
        top = ((71, -0.5), (300, float("-inf")))
        told = (TokenLogprob(70, -0.25, top),) if request.sampling.logprobs is not None else ()
        deliver(Delta(text="ye", ids=(70,), logprobs=told))
        threading.Timer(0.05, deliver, [Delta(text="s", ids=(71,), finish="stop")]).start()

    fake.answer = answer


def test_a_stream_of_a_chat_begins_with_the_role_and_ends_with_the_usage(
    live: Live, fake: Fake
) -> None:
    halves(fake)
    said = events(live.port, CHAT, {**ASK, "stream_options": {"include_usage": True}})
    *chunks, last = said
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(d.get("content", "") for d in deltas) == "yes"
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [
        *[None] * (len(chunks) - 1),
        "stop",
    ]
    assert deltas[-1] == {}
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2
    assert {chunk["object"] for chunk in said} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in said}) == 1


def test_a_stream_of_text_tells_each_choice_by_its_index(live: Live, fake: Fake) -> None:
    halves(fake)
    said = events(live.port, TEXT, {"prompt": "of", "n": 3, "echo": True})
    texts = dict.fromkeys(range(3), "")
    for chunk in said:
        [choice] = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == dict.fromkeys(range(3), "ofyes")
    assert all(request.stream for request in fake.asked)


def test_log_probabilities_have_openais_two_shapes(live: Live, fake: Fake) -> None:
    top = ((70, -0.25), (71, float("-inf")))
    told = (TokenLogprob(70, -0.25, top), TokenLogprob(71, -1.0, ()))
    fake.answer = lambda request: Delta(text="x", ids=(70, 71), logprobs=told, finish="stop")
    a, b = (fake.speaker.tokenizer.decode([id]) for id in (70, 71))
    _, said = live.ask(TEXT, {"prompt": "of", "logprobs": 2})
    assert said["choices"][0]["logprobs"] == {
        "tokens": [a, b],
        "token_logprobs": [-0.25, -1.0],
        "top_logprobs": [{a: -0.25, b: -9999.0}, {}],
        "text_offset": [0, 1],
    }
    _, said = live.ask(CHAT, {**ASK, "logprobs": True, "top_logprobs": 2})
    first = said["choices"][0]["logprobs"]["content"][0]
    assert first == {
        "token": a,
        "logprob": -0.25,
        "bytes": list(a.encode()),
        "top_logprobs": [
            {"token": a, "logprob": -0.25, "bytes": list(a.encode())},
            {"token": b, "logprob": -9999.0, "bytes": list(b.encode())},
        ],
    }


def test_no_log_probability_is_lost_in_a_stream(live: Live, fake: Fake) -> None:
    halves(fake)
    said = events(live.port, CHAT, {**ASK, "logprobs": True, "top_logprobs": 2})
    told = [c["choices"][0]["logprobs"] for c in said if c["choices"][0]["logprobs"]]
    assert [one["token"] for part in told for one in part["content"]] == [
        fake.speaker.tokenizer.decode([70])
    ]


def test_a_letter_in_two_tokens_keeps_its_bytes(model: Path, fake: Fake) -> None:
    tokens = Tokens(fake.speaker.tokenizer)
    ids = fake.speaker.tokenizer.encode("é of")
    assert b"".join(tokens.raw(id) for id in ids) == "é of".encode()
    assert tokens.label(ids[0]) == "bytes:\\xc3"
    assert sum(tokens.width(id) for id in ids) == len("é of")


def test_the_model_is_listed_and_found_by_its_name(live: Live) -> None:
    status, said = live.ask("/v1/models")
    assert (status, said["object"]) == (200, "list")
    [card] = said["data"]
    assert (card["id"], card["object"], card["owned_by"]) == ("tiny", "model", "swift")
    assert live.ask("/v1/models/tiny") == (200, card)
    status, said = live.ask("/v1/models/other")
    assert (status, said["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_another_models_name_is_not_found(live: Live, path: str) -> None:
    status, said = live.ask(path, {**ASK, "prompt": "x", "model": "gpt-5"})
    assert status == 404
    assert said["error"] == {
        "message": "the model `gpt-5` is not served here; `tiny` is",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize(
    ("path", "body", "more", "status"),
    [
        (CHAT, b"{", {}, 400),
        (CHAT, {"messages": []}, {}, 400),
        (TEXT, {"prompt": ""}, {}, 400),
        (TEXT, {"prompt": "x", "logit_bias": {"100000": 1}}, {}, 400),
        (TEXT, {"prompt": "x", "stop_token_ids": [100000]}, {}, 400),
        (TEXT, {"prompt": ["x"] * 9, "n": 128}, {}, 400),
        ("/v1/nothing", None, {}, 404),
        ("/", None, {}, 404),
        (CHAT, None, {}, 405),
        ("/health", {}, {}, 405),
        (TEXT, b" " * (8 << 20) + b"{}", {}, 413),
        ("/v1/models", None, {"headers": {"Host": "evil.example:80"}}, 403),
        ("/v1/models", None, {"headers": {"Host": "localhost", "Origin": "https://a.b"}}, 403),
    ],
)
def test_a_refusal_is_an_error_object(
    live: Live, fake: Fake, path: str, body: Any, more: Any, status: int
) -> None:
    got, said = live.ask(path, body, **more)
    assert got == status
    assert said.keys() == {"error"}
    assert said["error"].keys() == {"message", "type", "param", "code"}
    assert said["error"]["message"]
    assert fake.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:1", "LOCALHOST:8000"])
def test_this_machine_has_several_names(live: Live, host: str) -> None:
    assert live.ask("/health", headers={"Host": host})[0] == 200


def test_a_key_is_asked_of_everybody_but_probes(model: Path) -> None:
    with serving(Fake.on(model), Serve(port=0, api_key="s3cret-key")) as live:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret-key"}):
            status, said = live.ask("/v1/models", headers=given)
            assert (status, said["error"]["code"]) == (401, "invalid_api_key")
        assert live.ask("/v1/models", headers={"Authorization": "Bearer s3cret-key"})[0] == 200
        assert live.ask("/health")[0] == 200


def test_too_many_who_wait_are_answered_with_429(live: Live, fake: Fake) -> None:
    fake.waiting = 1023
    assert live.ask(CHAT, ASK)[0] == 200
    assert live.ask(CHAT, {**ASK, "n": 2})[0] == 429


def test_a_draining_server_takes_nothing_new(live: Live, fake: Fake) -> None:
    live.app.draining = True
    try:
        assert live.ask(CHAT, ASK)[0] == 503
        status, said = live.ask("/health")
        assert (status, said["status"]) == (503, "draining")
    finally:
        live.app.draining = False


def test_health_tells_the_load(live: Live, fake: Fake) -> None:
    fake.waiting = 2
    busy = {"running": 0, "waiting": 2, "blocks": 0, "blocks_total": 8}
    assert live.ask("/health") == (200, {"status": "ok", **busy, "version": 0})


def test_a_mistake_of_ours_says_nothing_of_itself(live: Live, fake: Fake) -> None:
    def fail(request: Request) -> Delta:
        raise RuntimeError("/secret/path")

    fake.answer = fail
    status, said = live.ask(CHAT, ASK)
    assert (status, said["error"]["type"]) == (500, "server_error")
    assert "secret" not in json.dumps(said)


def test_a_failed_answer_is_a_500_or_an_event(live: Live, fake: Fake) -> None:
    fake.answer = lambda request: Delta(finish="error", error="RuntimeError: /secret/path")
    status, said = live.ask(CHAT, ASK)
    assert (status, "secret" in json.dumps(said)) == (500, False)
    with post(live.port, CHAT, {**ASK, "stream": True}) as sock:
        text = ""
        while "server_error" not in text:
            part = sock.recv(65536)
            assert part
            text += part.decode()
    assert "DONE" not in text


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_is_not_answered_any_more(live: Live, fake: Fake, stream: bool) -> None:
    fake.answer = lambda request: None
    sock = post(live.port, CHAT, {**ASK, "n": 2, "stream": stream})
    wait_until(lambda: len(fake.asked) == 2, "both are asked")
    assert fake.cancelled == []
    sock.close()
    wait_until(lambda: fake.cancelled == [0, 1], "both are cancelled")


def test_the_models_own_sampling_is_the_default(tmp_path: Path) -> None:
    def said(**fields: Any) -> dict[str, float]:
        (tmp_path / "generation_config.json").write_text(json.dumps(fields))
        return dict(sampling_defaults(tmp_path))

    assert sampling_defaults(tmp_path) == {}
    assert said(temperature=0.7, top_p=0.8, top_k=20, max_length=9) == {
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
    }
    assert said(do_sample=False, temperature=0.7) == {}
    assert said(temperature="hot", top_p=2, top_k=1.5) == {}
