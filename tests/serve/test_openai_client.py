"""The official client against `python -m swift.serve`, a process with the real engine."""

from __future__ import annotations

import random
import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.kit import tiny_chat_model
from tests.serve.live import Process, post, wait_until

pytestmark = pytest.mark.slow

IDLE = (0, 0, 0)
ASK: Any = [{"role": "user", "content": "is it the user of the system"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Process]:
    with Process(f"--model_type={model}", "--serving_backend=torch", "--port=0") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        yield client


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "swift"


def test_text_is_completed(client: openai.OpenAI) -> None:
    said = client.completions.create(
        model="tiny", prompt=["of the", "user"], max_tokens=5, n=2, logprobs=3, temperature=0
    )
    assert [choice.index for choice in said.choices] == [0, 1, 2, 3]
    assert said.choices[0].text == said.choices[1].text
    logprobs = said.choices[0].logprobs
    assert logprobs and logprobs.top_logprobs and logprobs.token_logprobs and logprobs.tokens
    for token, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert len(top) == 3
        assert logprob == max(top.values()) == top[token]  # greedy
    assert said.usage and said.usage.completion_tokens <= 20


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    def ask(**more: Any) -> Any:
        return client.chat.completions.create(
            model="tiny", messages=ASK, max_completion_tokens=24, seed=5, **more
        )

    whole = ask()
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    ends = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert ends == [whole.choices[0].finish_reason]
    assert chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_a_prompt_that_leaves_no_room_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt=[70] * 256)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")


def mixed() -> list[dict[str, Any]]:
    """Return eight requests of uneven length; each second one is greedy."""
    draw = random.Random(1)
    words = ["user", "system", "the", "of", "and"]
    return [
        {
            "prompt": " ".join(draw.choices(words, k=draw.randint(1, 40))),
            "max_tokens": draw.randint(8, 64),
            "temperature": 0 if i % 2 else draw.choice([0.5, 1.0, 1.7]),
            "seed": i,
            "extra_body": {"ignore_eos": True, "top_k": draw.choice([0, 20])},
        }
        for i in range(8)
    ]


def test_company_changes_no_answer(client: openai.OpenAI) -> None:
    def ask(request: dict[str, Any]) -> str:
        text: str = client.completions.create(model="tiny", **request).choices[0].text
        return text

    alone = [ask(request) for request in mixed()]
    assert len(set(alone)) == 8
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(ask, mixed())) == alone


def test_two_hundred_who_leave_abruptly_leave_nothing_behind(server: Process) -> None:
    def leave(number: int) -> None:
        """Ask for a long answer and break the connection off (RST) somewhere on the way."""
        body = {
            "messages": ASK,
            "stream": number % 2 == 0,
            "max_tokens": 200,
            "ignore_eos": True,
            "n": 1 + number % 3,
        }
        sock = post(server.port, "/v1/chat/completions", body)
        if number % 4 == 0:
            sock.recv(random.Random(number).choice([1, 400, 2000]))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def crowd() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(leave, range(200)))
        wait_until(lambda: server.health() == IDLE, "all slots and blocks are free")

    crowd()  # once beforehand: buffers grow to their size
    before = server.resident()
    crowd()
    assert server.resident() - before < 8


def test_a_signal_to_end_waits_for_a_long_stream(model: Path) -> None:
    with (
        Process(str(model), "--port", "0") as server,
        openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client,
    ):
        stream = client.completions.create(
            model="tiny",
            prompt="of",
            max_tokens=250,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        chunks = [next(iter(stream))]
        server.child.send_signal(signal.SIGTERM)
        chunks += stream
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 250
        assert server.child.wait(timeout=30) == 0


def test_ctrl_c_ends_with_130(model: Path) -> None:
    with Process(str(model), "--port", "0") as server:
        server.child.send_signal(signal.SIGINT)
        assert server.child.wait(timeout=30) == 130
        assert server.child.stderr is not None
        assert "Traceback" not in server.child.stderr.read()
