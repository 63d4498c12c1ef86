"""An engine that is elsewhere answers as one in process, and is named when it is missing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import MachineError, PlanError, UserError
from swift.engine import Delta, Engine, Request, Sampling, Served
from swift.engine._server import ServerEngine
from swift.engine.server import Server
from swift.engine.torch import Torch
from swift.recipe.sections import Serve
from tests.kit import tiny_chat_model
from tests.serve.live import DEADLINE, Fake, Live, Process, serving

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ENDLESS = Request(ids=[5], sampling=Sampling(max_tokens=200, ignore_eos=True))


def of(folder: Path, context: int = 256) -> Served:
    return Served(id="tiny", folder=folder, speech=folder, context=context)


def afar(live: Live | Process, folder: Path, timeout: float = DEADLINE) -> ServerEngine:
    options = Server(url=f"http://127.0.0.1:{live.port}")
    return ServerEngine(of(folder), options.model_copy(update={"timeout": timeout}))


class Heard:
    """What an asker is told."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self.done = threading.Event()

    def __call__(self, delta: Delta) -> None:
        self.deltas.append(delta)
        if delta.finish:
            self.done.set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def here(folder: Path) -> Iterator[Engine]:
    engine = Torch().open(of(folder))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def there(folder: Path, here: Engine) -> Iterator[ServerEngine]:
    with serving(here) as live:
        engine = afar(live, folder)
        yield engine
        engine.close()


def drawn(seed: int) -> Request:
    sampling = Sampling(
        max_tokens=5 + seed % 20,
        temperature=0.7 + seed % 3,
        top_p=0.9,
        top_k=40,
        min_p=0.01,
        seed=2**70 + seed,
        stop=("q",) if seed % 2 else (),
        stop_token_ids=(7, 9),
        logprobs=seed % 3,
        presence_penalty=0.3,
    )
    return Request(ids=[5 + seed, 6, 7 + seed % 5], sampling=sampling)


def test_answers_are_those_of_the_engine_in_process(here: Engine, there: ServerEngine) -> None:
    requests = [drawn(seed) for seed in range(40)]
    found, wanted = there.generate(requests), here.generate(requests)
    assert [d.ids for d in found] == [d.ids for d in wanted]
    assert [d.text for d in found] == [d.text for d in wanted]
    assert [d.finish for d in found] == [d.finish for d in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert [t.id for t in one.logprobs] == [t.id for t in other.logprobs]
        assert [t.logprob for t in one.logprobs] == pytest.approx(
            [t.logprob for t in other.logprobs], abs=1e-5
        )
    assert {d.finish for d in found} == {"stop", "length"}


def test_more_than_a_server_takes_at_once_comes_in_order(here: Engine, folder: Path) -> None:
    requests = [
        Request(ids=[5 + k % 200], sampling=Sampling(max_tokens=1, temperature=0))
        for k in range(1100)
    ]
    with serving(here, Serve(port=0, max_waiting=16)) as live:
        engine = afar(live, folder)
        found = engine.generate(requests)
        engine.close()
    firsts = here.generate(requests[:200])
    assert [d.ids for d in found] == [firsts[k % 200].ids for k in range(1100)]


def test_an_answer_comes_in_pieces_where_it_is_streamed(here: Engine, there: ServerEngine) -> None:
    asked = Request(ids=[5, 6], sampling=Sampling(max_tokens=9, seed=1), stream=True)
    heard = [Heard(), Heard()]
    for engine, said in zip((here, there), heard, strict=True):
        engine.submit(asked, said)
        assert said.done.wait(DEADLINE)
    assert len(heard[1].deltas) > 2
    assert [d.ids for d in heard[0].deltas] == [d.ids for d in heard[1].deltas]


def test_what_is_cancelled_says_so_and_frees_its_slot(folder: Path) -> None:
    fake = Fake.on(folder)
    fake.answer = lambda request: None
    with serving(fake) as live:
        engine = afar(live, folder)
        heard = Heard()
        cancel = engine.submit(ENDLESS, heard)
        cancel()
        assert heard.done.wait(DEADLINE)
        engine.close()
        cancel()
    assert [d.finish for d in heard.deltas] == ["cancelled"]
    assert len(fake.cancelled) == len(fake.asked)


def test_what_the_server_does_not_take_is_the_users(here: Engine, there: ServerEngine) -> None:
    with pytest.raises(UserError, match="the prompt is empty"):
        there.generate([Request(ids=[])])
    with pytest.raises(UserError, match=r"answers 400: the prompt has an unknown token"):
        there.generate([Request(ids=[99999])])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff", "utf-8"),
        (b"[]", "no list of prompts"),
        ({"samplings": [], "prompts": [], "stream": False}, "1 to 1024 answers, not 0"),
        ({"samplings": [{}], "prompts": [[[1], -1]], "stream": False}, "greater than or equal"),
        ({"samplings": [{}], "prompts": [[[1], 1]], "stream": False}, "no list of prompts"),
        ({"samplings": [{"seeds": 1}], "prompts": [[[1], 0]], "stream": False}, "seeds"),
        ({"samplings": [{}], "prompts": [[["a"], 0]], "stream": False}, "valid integer"),
        ({"samplings": [{}], "prompts": [[[], 0]], "stream": False}, "the prompt is empty"),
        (
            {"samplings": [{"logit_bias": {"-999": 1}}], "prompts": [[[1], 0]], "stream": False},
            "unknown token",
        ),
    ],
)
def test_a_body_that_is_none_is_refused_and_harms_nobody(
    here: Engine, folder: Path, body: Any, said: str
) -> None:
    with serving(here) as live:
        status, answer = live.ask("/swift/answers", body)
        assert status == 400
        assert said in answer["error"]["message"]
        engine = afar(live, folder)
        assert engine.generate([drawn(0)]) == here.generate([drawn(0)])
        engine.close()


def test_a_model_with_other_tokens_is_refused_by_both_names(
    here: Engine, folder: Path, tmp_path: Path
) -> None:
    other = tiny_chat_model(tmp_path)
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text.replace("<|im_start|>", "<|begin|>"))
    with serving(here) as live:
        served = of(other).model_copy(update={"id": "other"})
        with pytest.raises(PlanError, match=r"serves tiny, whose tokens are others .* of other"):
            Server(url=f"http://127.0.0.1:{live.port}/v1").open(served)


def test_a_server_that_is_not_there_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MachineError, match=f"the server {url} cannot be reached: ConnectE"):
            Server(url=url).open(of(folder))


def test_one_that_is_no_swift_is_told_from_one_that_is(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            connection, _ = listener.accept()
            stack.enter_context(connection)
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UserError, match="answers 404: nope"):
            Server(url=url).open(of(folder))
        thread.join()


def test_a_key_is_read_from_its_variable_and_never_shown(
    here: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(here, Serve(port=0, api_key="very-secret-1")) as live:
        url = f"http://127.0.0.1:{live.port}"
        with pytest.raises(UserError, match="answers 401"):
            Server(url=url).open(of(folder))
        with pytest.raises(UserError, match=r"\$ROLLOUT_KEY, which is empty"):
            Server(url=url, key="ROLLOUT_KEY").open(of(folder))
        monkeypatch.setenv("ROLLOUT_KEY", "very-secret-1")
        engine = Server(url=url, key="ROLLOUT_KEY").open(of(folder))
        assert engine.generate([drawn(0)])[0].finish
        engine.close()
