"""A judge over HTTP: a small endpoint on this machine, which may misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Event, Lock, Thread
from typing import Any

import pytest

from swift.core.errors import MachineError, UserError
from swift.reward.judge import Judge
from swift.reward.together import judged
from tests.reward.asking import answer

KEY = "sk-very-secret-123"


@dataclass
class Endpoint:
    """What it is to say, and what it was asked."""

    says: str = "Fine. Score: 7"
    statuses: list[int] = field(default_factory=list)
    """Of the first answers; then 200."""

    body: bytes | None = None
    meet: Barrier | None = None
    hold: Event | None = None
    port: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    lock: Any = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def judge(self, **options: Any) -> Judge:
        return Judge(url=self.url, model="m", **options)


@contextmanager
def endpoint(**knobs: Any) -> Iterator[Endpoint]:
    world = Endpoint(**knobs)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with world.lock:
                world.asked.append({"path": self.path, **said})
                world.keys.append(self.headers.get("Authorization"))
                status = world.statuses.pop(0) if world.statuses else 200
            if world.meet:
                world.meet.wait(20)
            if world.hold:
                world.hold.wait(20)
            turn = {"role": "assistant", "content": world.says}
            body = world.body or json.dumps({"choices": [{"message": turn}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    world.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield world
    finally:
        if world.hold:
            world.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swift.reward.judge.FIRST_WAIT", 0.01)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("says", "worth"),
    [
        ("Fine. Score: 7", 0.7),
        ("Score: 2? No.\n**Score:** 10", 1.0),
        ("score = 0", 0.0),
        ("SCORE: 7.5/10", 0.75),
    ],
)
def test_the_last_score_counts(says: str, worth: float) -> None:
    with endpoint(says=says) as world:
        assert judged([world.judge()], [answer("A")]).total == (worth,)


@pytest.mark.parametrize("says", ["no idea", "Score: 11", "Score: -1", "", "Score: high"])
def test_answers_that_all_get_no_score_are_an_error(says: str) -> None:
    with (
        endpoint(says=says) as world,
        pytest.raises(UserError, match="gave none of 1 answers a score"),
    ):
        judged([world.judge()], [answer("A")])


def test_the_question_is_put_once_and_braces_of_the_answer_stay() -> None:
    with endpoint() as world:
        template = "{question}|{answer}|{solution}"
        said = answer("{solution} {x}", asks="{answer}?", solution="S")
        judged([world.judge(template=template, temperature=0.5, max_tokens=9)], [said])
        (asked,) = world.asked
    assert asked == {
        "path": "/v1/chat/completions",
        "model": "m",
        "messages": [{"role": "user", "content": "{answer}?|{solution} {x}|S"}],
        "temperature": 0.5,
        "max_tokens": 9,
    }


def test_a_score_has_its_own_ends() -> None:
    with endpoint(says="grade 3") as world:
        judge = world.judge(pattern=r"grade (\d)", low=1, high=5)
        assert judged([judge], [answer("A")]).total == (0.5,)


def test_questions_are_asked_side_by_side() -> None:
    with endpoint(meet=Barrier(4)) as world:
        assert judged([world.judge(concurrency=4)], [answer("A")] * 8).total == (0.7,) * 8


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_judge_that_is_busy_is_asked_again(status: int) -> None:
    with endpoint(statuses=[status, status]) as world:
        assert judged([world.judge()], [answer("A")]).total == (0.7,)
        assert len(world.asked) == 3


def test_one_that_stays_busy_is_named() -> None:
    with endpoint(statuses=[503] * 2) as world:
        with pytest.raises(MachineError, match="did not answer in 2 tries: it answers 503"):
            judged([world.judge(tries=2)], [answer("A")])
        assert len(world.asked) == 2


def test_one_that_is_not_there_is_named() -> None:
    with endpoint() as world:
        gone = world.judge(tries=2)
    with pytest.raises(MachineError, match="did not answer in 2 tries"):
        judged([gone], [answer("A")])


def test_one_that_is_silent_is_given_up() -> None:
    with (
        endpoint(hold=Event()) as world,
        pytest.raises(MachineError, match=r"it took more than 0\.1 s"),
    ):
        judged([world.judge(seconds=0.1, tries=1)], [answer("A")])


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": []}', b"[" * 100_000])
def test_an_answer_that_is_none_is_asked_for_again(body: bytes) -> None:
    with endpoint(body=body) as world, pytest.raises(MachineError, match="no chat completion"):
        judged([world.judge(tries=2)], [answer("A")])


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with endpoint(statuses=[401], body=f"no such key {KEY}".encode()) as world:
        judge = world.judge(key="JUDGE_KEY")
        with pytest.raises(UserError, match=r"answers 401: no such key \*\*\*") as error:
            judged([judge], [answer("A")])
        assert world.keys == [f"Bearer {KEY}"]
        assert len(world.asked) == 1
    assert KEY not in str(error.value) + repr(judge) + judge.model_dump_json()


def test_a_key_that_is_not_there_is_a_problem_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    (problem,) = Judge(url="http://h/v1", model="m", key="JUDGE_KEY").problems()
    assert "$JUDGE_KEY" in problem.what
    (problem,) = Judge(url="http://h/v1", model="m", key=KEY).problems()
    assert KEY not in str(problem)


def test_nothing_is_sent_where_no_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with endpoint() as world:
        judged([world.judge()], [answer("A")])
        assert world.keys == [None]


def test_a_password_in_the_address_is_not_shown() -> None:
    judge = Judge(url="http://me:pass1234@127.0.0.1:1/v1", model="m", tries=1)
    with pytest.raises(MachineError) as error:
        judged([judge], [answer("A")])
    assert "pass1234" not in str(error.value)
