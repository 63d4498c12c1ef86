"""Whatever happens to one of several processes, nothing hangs and nothing is left behind."""

from __future__ import annotations

import gc
import io
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from swift.chat.tokenize import Tokenizer
from swift.core.errors import MachineError
from swift.dataset import crowd
from swift.dataset.cut import Cut, Texts, Way, cut
from tests.dataset.test_crowd import noted
from tests.kit import tiny_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def way(folder: Path) -> Way:
    return Way(Tokenizer.load(folder), 1, True, 1 << 20, "drop")


def held() -> tuple[int, int, int]:
    """Return how many files, threads and child processes this process has."""
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    files = [*Path("/proc/self/fd").iterdir()]
    return len(files), threading.active_count(), len(children.read_text().split())


@pytest.fixture(autouse=True)
def nothing_is_left_behind(way: Way) -> Iterator[None]:
    cut(chunk("warm"), way)  # which starts threads of the tokenizer's own
    gc.collect()  # of other tests
    before = held()
    yield
    assert [now - then for now, then in zip(held(), before, strict=True) if now > then] == []


def chunk(*texts: str) -> Texts:
    count = len(texts)
    return Texts([*texts], [((0, len(t)),) for t in texts], ["x:1"] * count, [], [0] * count)


def drawn(count: int, seed: int, most: int) -> list[Texts]:
    draw = random.Random(seed)
    sizes = [[draw.choice((0, 1, 9, most)) for _ in range(draw.randint(1, 5))] for _ in "x" * count]
    return [chunk(*("é1 "[draw.randrange(3)] * size for size in some)) for some in sizes]


def tokens(made: crowd.Done) -> list[tuple[list[str], list[int], list[int]]]:
    return [(c.origins, m.ids.tolist(), m.sizes.tolist()) for c, m in made]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(
    ("seed", "most", "pipe"), [(0, 30, 4096), (1, 20_000, 4096), (2, 99, 9**6)]
)
def test_chunks_of_any_size_come_as_from_one_process(
    way: Way, monkeypatch: pytest.MonkeyPatch, processes: int, seed: int, most: int, pipe: int
) -> None:
    monkeypatch.setattr(crowd, "_PIPE", pipe)  # both pipes are full most of the time
    chunks = drawn(150, seed, most)
    alone = tokens(crowd.in_order(iter(chunks), way, 1))
    assert tokens(crowd.in_order(iter(chunks), way, processes)) == alone


@pytest.mark.parametrize("processes", [1, 2, None])
def test_no_chunks_give_nothing_and_start_nothing(
    way: Way, monkeypatch: pytest.MonkeyPatch, processes: int | None
) -> None:
    monkeypatch.setattr(crowd, "_Child", None)
    assert [*crowd.in_order(iter(()), way, processes)] == []


@pytest.mark.parametrize("started", [0, 1])
def test_where_fewer_can_be_started_fewer_do_it(
    way: Way, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    real, asked = subprocess.Popen, list[int]()

    def scarce(*args: object, **named: object) -> object:
        asked.append(1)
        if len(asked) > started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*args, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", scarce)
    chunks = drawn(40, 3, 50)
    alone = tokens(crowd.in_order(iter(chunks), way, 1))
    assert tokens(crowd.in_order(iter(chunks), way, 4)) == alone
    assert len(asked) == started + 1


@pytest.mark.parametrize("moment", [0, 1, 2, 7, 30])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGRTMIN + 1])
def test_a_death_at_any_moment_is_an_error_in_words(
    way: Way, monkeypatch: pytest.MonkeyPatch, moment: int, sent: int
) -> None:
    children = noted(monkeypatch)

    def chunks() -> Iterator[Texts]:
        yield from drawn(1, 1, 9)
        for number, one in enumerate(drawn(400, 5, 3000)):
            if number == moment:
                os.kill(children[0]._process.pid, sent)
            yield one

    with pytest.raises(MachineError, match=r"was ended by (SIGKILL|SIGTERM|signal|SIGRT)"):
        tokens(crowd.in_order(chunks(), way, 2))


@pytest.mark.parametrize("after", [0, 1, 20])
def test_whoever_stops_listening_stops_all(way: Way, after: int) -> None:
    made = crowd.in_order(iter(drawn(300, 6, 3000)), way, 3)
    for _ in range(after):
        next(made)
    made.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_what_one_chunk_raises_comes_after_the_chunks_before_it(way: Way, processes: int) -> None:
    chunks = drawn(90, 7, 40)
    chunks[61] = chunks[61]._replace(texts=[7])  # type: ignore[list-item]
    chunks[62] = chunks[61]
    seen = 0
    with pytest.raises(TypeError):
        for _ in crowd.in_order(iter(chunks), way, processes):
            seen += 1
    assert seen == 61


def test_what_this_process_raises_waits_for_its_turn(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "_AHEAD", 1)

    def wrong(*_: object) -> Cut:
        raise MemoryError("of this process")

    monkeypatch.setattr(crowd, "cut", wrong)
    made = crowd.in_order(iter(drawn(9, 8, 3000)), way, 2)
    next(made)  # of the other process, though this one has failed at the next
    with pytest.raises(MemoryError, match="of this process"):
        tokens(made)


class _Slow:
    """A process whose answers come when they are waited for."""

    def __init__(self, way: Way) -> None:
        self.asked: list[Future[Cut]] = []
        self.way = way

    def ask(self, one: Texts) -> Future[Cut]:
        made = _Late(one, self.way)
        self.asked.append(made)
        return made

    @property
    def waiting(self) -> int:
        return 0


class _Late(Future[Cut]):
    def __init__(self, one: Texts, way: Way) -> None:
        super().__init__()
        self.one, self.way = one, way

    def result(self, timeout: float | None = None) -> Cut:
        return cut(self.one, self.way)


def test_behind_a_chunk_that_takes_long_no_more_than_a_few_are_kept(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(children: list[_Slow], way: Way, count: int) -> None:
        children += [_Slow(way) for _ in range(count)]

    monkeypatch.setattr(crowd, "_begin", begin)
    monkeypatch.setattr(_Slow, "kill", lambda child: None, raising=False)
    monkeypatch.setattr(_Slow, "end", lambda child: None, raising=False)
    read = 0

    def chunks() -> Iterator[Texts]:
        nonlocal read
        for one in drawn(2000, 9, 9):
            read += 1
            yield one

    most = 0
    for given, (one, _) in enumerate(crowd.in_order(chunks(), way, 2)):
        most = max(most, read - given)
        assert (one.texts, one.spans) == ([], [])  # the most of what a chunk takes
    assert 0 < most <= 4 * crowd._AHEAD * 2 + 2


class _Two(Exception):  # noqa: N818 - it only stands for one that cannot be sent
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_error_that_cannot_be_sent_is_told_in_words(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> Cut:
        raise _Two(1, 2)

    monkeypatch.setattr(crowd, "cut", wrong)
    asked = io.BytesIO(pickle.dumps(way) + pickle.dumps(chunk("a")) + pickle.dumps(chunk("b"))[:9])
    answers = io.BytesIO()
    crowd.serve(asked, answers)  # and the broken end is nothing to speak of
    answers.seek(0)
    told = pickle.load(answers)
    assert (type(told), str(told), answers.read()) == (RuntimeError, "_Two: 1 and 2", b"")


_CALLER = """
import sys
from pathlib import Path
from swift.chat.tokenize import Tokenizer
from swift.dataset import crowd
from swift.dataset.cut import Texts, Way
way = Way(Tokenizer.load(Path(sys.argv[1])), 1, True, 1 << 20, "drop")
one = Texts(["seven " * 2000] * 50, [((0, 9),)] * 50, ["x:1"] * 50, [], [0] * 50)
for number, _ in enumerate(crowd.in_order(iter([one] * 10**6), way, 3)):
    if number == 5:
        print("at work", flush=True)
"""


def test_a_caller_that_is_killed_leaves_no_process_and_no_words(folder: Path) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", _CALLER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with caller:
        assert caller.stdout is not None
        assert caller.stderr is not None
        assert caller.stdout.readline() == "at work\n"
        caller.kill()
        assert caller.stderr.read() == ""  # which ends when the last of its processes does
