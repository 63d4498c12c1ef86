"""A served model takes other weights: whole, or not at all; and says by which ones it answers."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from swift.core.errors import MachineError, PlanError
from swift.engine import Engine, Fresh, Request, Sampling, Served, _parts
from swift.engine._server import ServerEngine
from swift.engine.server import Server
from swift.engine.torch import Torch
from swift.recipe.sections import Serve
from tests.engine.test_sync import lora
from tests.kit import tiny_chat_model
from tests.serve.live import DEADLINE, Live, Process, ask, serving, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ASKED = [
    Request(ids=[5 + k, 6, 7], sampling=Sampling(max_tokens=12, seed=k, logprobs=0))
    for k in range(6)
]


def of(folder: Path, adapter: Path | None = None) -> Served:
    return Served(id="tiny", folder=folder, adapter=adapter, speech=folder, context=64)


def ids(engine: Engine) -> list[tuple[int, ...]]:
    return [delta.ids for delta in engine.generate(ASKED)]


def said_by(folder: Path, adapter: Path | None = None) -> list[tuple[int, ...]]:
    engine = Torch().open(of(folder, adapter))
    found = ids(engine)
    engine.close()
    return found


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(folder / "model.safetensors")
    return found


def client(port: int, folder: Path) -> ServerEngine:
    return ServerEngine(of(folder), Server(url=f"http://127.0.0.1:{port}"))


@contextmanager
def served(folder: Path, options: Serve) -> Iterator[Live]:
    engine = Torch().open(of(folder))
    with serving(engine, options) as live:
        yield live
    engine.close()


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny_chat_model(tmp_path_factory.mktemp(f"base{i}"), seed=i) for i in range(2)]


@pytest.fixture
def live(bases: list[Path]) -> Iterator[Live]:
    with served(bases[0], Serve(port=0, sync=True)) as live:
        yield live


@pytest.fixture
def engine(live: Live, bases: list[Path]) -> Iterator[ServerEngine]:
    engine = client(live.port, bases[0])
    yield engine
    engine.close()


@pytest.mark.parametrize("most", [1, 20_000, 64 << 20], ids=["one by one", "parts", "at once"])
def test_whole_weights_make_it_the_other_model(
    engine: ServerEngine, bases: list[Path], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "PIECE", most)
    before = engine.generate(ASKED)
    engine.sync(Fresh(version=3, weights=weights(bases[1]).items()))
    after = engine.generate(ASKED)
    assert [d.ids for d in before] != [d.ids for d in after]
    assert [d.ids for d in after] == said_by(bases[1])
    assert {d.version for d in before} == {0}
    assert {d.version for d in after} == {3}
    assert engine.version == 3


def test_an_adapter_makes_it_the_adapted_model(
    engine: ServerEngine, bases: list[Path], tmp_path: Path
) -> None:
    for version, seed in enumerate([0, 2, 1], 1):
        adapter = lora(tmp_path / str(seed), bases[0], seed)
        engine.sync(Fresh(version=version, adapter=adapter))
        assert ids(engine) == said_by(bases[0], adapter)
        assert engine.version == version


def test_two_clients_are_answered_by_the_same_weights(
    live: Live, engine: ServerEngine, bases: list[Path]
) -> None:
    other = client(live.port, bases[0])
    assert ids(other) == ids(engine)
    engine.sync(Fresh(version=1, weights=weights(bases[1]).items()))
    assert (other.version, ids(other)) == (1, said_by(bases[1]))
    other.sync(Fresh(version=2, weights=weights(bases[0]).items()))
    assert (engine.version, ids(engine)) == (2, said_by(bases[0]))
    other.close()


def test_answers_under_way_end_by_the_weights_they_began_with(
    live: Live, engine: ServerEngine, bases: list[Path]
) -> None:
    long = Request(ids=[5, 6], sampling=Sampling(max_tokens=60, seed=1, ignore_eos=True))
    (wanted,) = engine.generate([long])
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(engine.generate([long] * 40)))
    thread.start()
    wait_until(lambda: live.app.engine.load().running > 0 or bool(found), "an answer begins")
    engine.sync(Fresh(version=1, weights=weights(bases[1]).items()))
    thread.join()
    assert [(d.ids, d.version) for d in found] == [(wanted.ids, 0)] * 40


def test_a_server_takes_no_weights_unless_it_is_told_to(bases: list[Path]) -> None:
    with served(bases[0], Serve(port=0)) as live:
        engine = client(live.port, bases[0])
        with pytest.raises(PlanError, match=r"takes no other weights\n.*--sync"):
            engine.sync(Fresh(version=1))
        assert put(live.port, head(), save({}))[0] == 404
        engine.close()


def test_weights_want_the_key(bases: list[Path]) -> None:
    with served(bases[0], Serve(port=0, sync=True, api_key="very-secret-1")) as live:
        assert put(live.port, head(), save({}))[0] == 401
        key = {"Authorization": "Bearer very-secret-1"}
        assert put(live.port, head(), save({}), key) == (200, {"version": 1})


def test_openais_routes_tell_ids_and_the_version_to_whoever_asks(
    live: Live, engine: ServerEngine
) -> None:
    engine.sync(Fresh(version=5))
    asked = {"prompt": [[5, 6], [7]], "n": 2, "max_tokens": 4, "temperature": 0}
    status, said = live.ask("/v1/completions", {**asked, "return_token_ids": True})
    assert status == 200
    assert [c["prompt_token_ids"] for c in said["choices"]] == [[5, 6], [5, 6], [7], [7]]
    greedy = Sampling(max_tokens=4, temperature=0)
    wanted = engine.generate([Request(ids=ids, sampling=greedy) for ids in ([5, 6], [7])])
    assert [tuple(c["token_ids"]) for c in said["choices"][::2]] == [d.ids for d in wanted]
    assert {c["weights_version"] for c in said["choices"]} == {5}
    assert "token_ids" not in live.ask("/v1/completions", asked)[1]["choices"][0]
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    choice = live.ask("/v1/chat/completions", {**chat, "return_token_ids": True})[1]["choices"][0]
    assert len(choice["token_ids"]) <= 4
    assert choice["prompt_token_ids"]
    streamed = {**asked, "return_token_ids": True, "stream": True}
    assert live.ask("/v1/completions", streamed)[0] == 400


# --- what is broken ------------------------------------------------------------------------------


def head(**more: Any) -> dict[str, Any]:
    return {"id": "x", "part": 0, "last": True, "version": 1} | more


def put(
    port: int, head: dict[str, Any], body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    raw = json.dumps(head).encode() + b"\n" + body
    return ask(port, "/swift/weights", raw, method="PUT", headers=headers)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "does not begin with a line"),
        (b"x" * 3_000_000, "does not begin with a line"),
        (b"{}\n", "`id`: Field required"),
        (json.dumps(head()).encode() + b"\n" + b"garbage", "the weights cannot be read"),
        (json.dumps(head(adapter={})).encode() + b"\n", "the weights cannot be read"),
        (json.dumps(head(version=-1)).encode() + b"\n" + save({}), "`version`"),
        (json.dumps(head(part=1)).encode() + b"\n" + save({}), "send the weights anew"),
    ],
)
def test_a_broken_body_changes_nothing(
    live: Live, engine: ServerEngine, raw: bytes, said: str
) -> None:
    before = ids(engine)
    status, answer = ask(live.port, "/swift/weights", raw, method="PUT")
    assert status in (400, 503)
    assert said in answer["error"]["message"]
    assert (engine.version, ids(engine)) == (0, before)


def test_a_client_that_leaves_in_the_middle_of_a_body_changes_nothing(
    live: Live, engine: ServerEngine, bases: list[Path], tmp_path: Path
) -> None:
    before = ids(engine)
    adapter = lora(tmp_path, bases[0], 0)
    first = json.dumps(head(adapter=json.loads((adapter / "adapter_config.json").read_text())))
    raw = first.encode() + b"\n" + (adapter / "adapter_model.safetensors").read_bytes()
    start = "PUT /swift/weights HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", live.port)) as sock:
        sock.sendall(f"{start}Content-Length: {len(raw)}\r\n\r\n".encode() + raw[:-100])
    assert (engine.version, ids(engine)) == (0, before)


def test_half_of_the_weights_answer_nobody_until_they_are_whole(
    live: Live, engine: ServerEngine, bases: list[Path]
) -> None:
    other = list(weights(bases[1]).items())
    assert put(live.port, head(last=False), save(dict(other[:3]))) == (200, {"version": -1})
    assert engine.version == -1
    status, said = live.ask("/v1/completions", {"prompt": [5], "max_tokens": 1})
    assert (status, said["error"]["code"]) == (503, "weights_half")
    later: Sequence[Any] = []
    waiting = threading.Thread(target=lambda: later.extend(ids(engine)))  # type: ignore[attr-defined]
    waiting.start()  # it asks again until they are
    assert put(live.port, head(id="y", part=1), save({}))[0] == 503
    rest = save(dict(other[3:]))
    assert put(live.port, head(part=1), rest) == (200, {"version": 1})
    waiting.join(DEADLINE)
    assert later == said_by(bases[1])


def test_weights_that_do_not_fit_are_told_and_must_be_sent_anew(
    engine: ServerEngine, bases: list[Path]
) -> None:
    wrong = [("model.norm.weight", torch.zeros(3))]
    with pytest.raises(PlanError, match=r"`model\.norm\.weight` of \(3,\) does not fit"):
        engine.sync(Fresh(version=1, weights=wrong))
    assert engine.version == -1
    engine.sync(Fresh(version=2, weights=weights(bases[1]).items()))
    assert (engine.version, ids(engine)) == (2, said_by(bases[1]))


def test_an_exchange_goes_on_from_its_beginning_where_another_came_between(
    live: Live, engine: ServerEngine, bases: list[Path]
) -> None:
    other = weights(bases[1])

    def interrupted() -> Iterator[tuple[str, Tensor]]:
        for number, pair in enumerate(other.items()):
            if number == 5:
                assert put(live.port, head(id="y"), save({}))[0] == 200
            yield pair

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parts, "PIECE", 1)
        with pytest.raises(MachineError, match="it has not the parts before this one"):
            engine.sync(Fresh(version=3, weights=interrupted()))
    engine.sync(Fresh(version=3, weights=other.items()))
    assert (engine.version, ids(engine)) == (3, said_by(bases[1]))


@pytest.mark.slow
def test_a_server_killed_and_started_again_is_seen_and_given_its_weights(
    bases: list[Path], tmp_path: Path
) -> None:
    adapter = lora(tmp_path, bases[0], 0)
    with Process("--sync", str(bases[0]), "--port", "0") as process:
        engine = client(process.port, bases[0])
        engine.sync(Fresh(version=4, adapter=adapter))
        assert engine.version == 4
        os.kill(process.child.pid, 9)
    with Process(str(bases[0]), "--sync", "--port", str(process.port)):
        assert engine.version == 0
        engine.sync(Fresh(version=4, adapter=adapter))
        assert ids(engine) == said_by(bases[0], adapter)
        engine.close()
