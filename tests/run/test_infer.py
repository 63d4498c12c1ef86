"""A file of answers: in order, whole, and the same after a kill."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swift.chat.message import Message
from swift.checkpoint import served
from swift.cli.main import main
from swift.core.errors import DataError, MachineError, PlanError
from swift.dataset.sources import Raw
from swift.engine import Engine, Request, Sampling
from swift.engine._torch import TorchEngine
from swift.engine.torch import Torch
from swift.run.asked import read
from swift.run.infer import Done, Inference, infer
from tests.kit import chat_rows, tiny_chat_model

SHORT = Sampling(temperature=0.0, max_tokens=6)


class Quiet:
    """Sees nothing."""

    def begin(self, done: int, total: int) -> None: ...
    def row(self, tokens: int) -> None: ...
    def end(self) -> None: ...


class Stop(Quiet):
    """Presses Ctrl+C after so many rows."""

    def __init__(self, rows: int) -> None:
        self.left = rows

    def row(self, tokens: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def opener(folder: Path) -> Callable[[], Engine]:
    return lambda: TorchEngine(served(str(folder)), Torch(max_batch=4))


def work(folder: Path, rows: Path, output: Path, **more: Any) -> Inference:
    said = {"sampling": SHORT, "ahead": 16, **more}
    return Inference(served=served(str(folder)), rows=str(rows), output=output, **said)


def run(it: Inference, opener: Callable[[], Engine]) -> Done:
    return infer(it, opener, Quiet())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
    return path


def test_answers_stand_in_the_order_of_rows_whatever_ends_first(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    rows = chat_rows(tmp_path / "rows.jsonl", 30)
    done = run(work(folder, rows, tmp_path / "out.jsonl"), opener)
    made = lines(tmp_path / "out.jsonl")
    asked = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    assert [line["index"] for line in made] == list(range(30))
    assert [line["messages"] for line in made] == [turns[:1] for turns in asked]
    assert [line["labels"] for line in made] == [turns[1]["content"] for turns in asked]
    assert done.rows == 30 and done.tokens == sum(
        line["usage"]["completion_tokens"] for line in made
    )
    engine = opener()
    try:
        alone = [
            engine.generate([Request(ids=engine.speaker.chat([Message(**t[0])]), sampling=SHORT)])
            for t in asked
        ]
    finally:
        engine.close()
    assert [line["response"] for line in made] == [one[0].text for one in alone]
    assert len({line["response"] for line in made}) > 10


QUESTION = [{"role": "user", "content": "red?"}]
ASKED = [
    ({"messages": [*QUESTION, {"role": "assistant", "content": "no"}]}, "red?", "no"),
    ({"messages": QUESTION}, "red?", None),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "a", "b"),
    ({"query": "a", "response": "b"}, "a", "b"),
    ({"prompt": "a", "completion": "b"}, "a", "b"),
    ({"query": "a"}, "a", None),
    ({"question": "a", "answer": ""}, "a", None),
    ({"instruction": "a", "input": "x", "output": "b"}, "a\nx", "b"),
    ({"instruction": "a", "input": "x", "output": ""}, "a\nx", None),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "a", "b"),
    ({"prompt": QUESTION}, "red?", None),
    ({"prompt": QUESTION, "completion": ""}, "red?", None),
]


@pytest.mark.parametrize(("row", "asks", "labels"), ASKED)
def test_a_row_of_any_format_asks_its_question_and_hides_its_answer(
    row: dict[str, Any], asks: str, labels: str | None
) -> None:
    asked = read(Raw(row=row, origin="x:1"))
    assert (asked.messages, asked.labels) == ((Message(role="user", content=asks),), labels)


def test_system_and_history_stand_before_the_question() -> None:
    row = {"system": "s", "history": [["a", "b"]], "query": "c"}
    asked = read(Raw(row=row, origin="x:1"))
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


@pytest.mark.parametrize("row", [{"prompt": "Once upon"}, {"text": "Once upon"}])
def test_plain_text_is_gone_on_with(row: dict[str, Any]) -> None:
    asked = read(Raw(row=row, origin="x:1"))
    assert (asked.prompt, asked.messages) == ("Once upon", ())


BAD = [
    ("{broken\n", "broken-line"),
    ({"colour": "red"}, "unknown-format"),
    ({"messages": []}, "wrong-shape"),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, "no-question"),
    ({"query": " "}, "empty-question"),
    ({"prompt": ""}, "empty-question"),
    ({"query": "long " * 300}, "prompt has"),
]


def test_a_bad_row_has_a_line_that_says_why_and_spoils_no_other(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    mixed: list[Any] = []
    for row, _ in BAD:
        mixed += [row, {"query": "tree"}, {"prompt": "tree"}]
    out = tmp_path / "out.jsonl"
    done = run(work(folder, write(tmp_path / "rows.jsonl", mixed), out), opener)
    made = lines(out)
    assert [line["index"] for line in made] == list(range(len(mixed)))
    for line, (_, why) in zip(made[::3], BAD, strict=True):
        assert why in line["error"] and "response" not in line
    assert done.errors == len(BAD)
    assert {line["response"] for line in made[1::3]} == {made[1]["response"]}
    assert {line["prompt"] for line in made[2::3]} == {"tree"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_inference_ends_as_an_undisturbed_one(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path, seed: int
) -> None:
    rows = chat_rows(tmp_path / "rows.jsonl", 60)
    sampling = Sampling(temperature=1.0, seed=3, max_tokens=60, ignore_eos=True)
    calm, killed = tmp_path / "calm.jsonl", tmp_path / "killed.jsonl"
    run(work(folder, rows, calm, sampling=sampling), opener)
    words = f"infer {folder} --input {rows} --output {killed} --engine.max_batch 4"
    words += " --temperature 1.0 --seed 3 --max_tokens 60 --ignore_eos"
    command = [sys.executable, "-m", "swift", *words.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wanted = random.Random(seed).randint(5, 40)
    try:
        wait_for(lambda: killed.is_file() and killed.read_bytes().count(b"\n") >= wanted, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    there = killed.read_bytes().count(b"\n")
    assert wanted <= there < 60
    with killed.open("ab") as file:  # what a power cut may leave besides
        file.write(b'{"index": ')
    again = run(work(folder, rows, killed, sampling=sampling), opener)
    assert again.before == there
    assert killed.read_bytes() == calm.read_bytes()


def wait_for(seen: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not seen():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.002)


def test_ctrl_c_keeps_whole_lines_and_the_next_start_goes_on(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    rows, out = chat_rows(tmp_path / "rows.jsonl", 12), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        infer(work(folder, rows, out), opener, Stop(5))
    there = len(lines(out))
    assert there < 12 and [line["index"] for line in lines(out)] == list(range(there))
    assert run(work(folder, rows, out), opener).before == there
    assert len(lines(out)) == 12


def test_a_finished_output_opens_no_model(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    rows, out = chat_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    run(work(folder, rows, out), opener)
    before = out.read_bytes()

    def never() -> Engine:
        raise AssertionError("opened")

    assert run(work(folder, rows, out), never) == Done(rows=3, before=3)
    assert out.read_bytes() == before


@pytest.fixture
def made(folder: Path, opener: Callable[[], Engine], tmp_path: Path) -> Iterator[Inference]:
    """An inference that was done."""
    it = work(folder, chat_rows(tmp_path / "rows.jsonl", 4), tmp_path / "out.jsonl")
    run(it, opener)
    yield it


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sampling": SHORT.model_copy(update={"max_tokens": 7})}, "other sampling"),
        ({"rows": "other"}, "other input"),
        ({"served": "other"}, "other model"),
    ],
)
def test_other_work_does_not_go_on_in_an_output(
    change: dict[str, Any], says: str, made: Inference, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    change = dict(change)
    if "rows" in change:
        change["rows"] = str(chat_rows(tmp_path / "other.jsonl", 4, seed=1))
    if "served" in change:
        change["served"] = made.served.model_copy(update={"id": "other"})
    other = Inference(**{**vars(made), **change})
    before = made.output.read_bytes()
    with pytest.raises(PlanError, match=says) as refused:
        run(other, opener)
    assert "--overwrite" in str(refused.value)
    assert made.output.read_bytes() == before
    assert run(Inference(**{**vars(other), "overwrite": True}), opener).before == 0


def test_a_strangers_file_is_not_touched(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    rows, out = chat_rows(tmp_path / "rows.jsonl", 2), tmp_path / "notes.txt"
    for text in ("my notes", "my notes\nmore\n", '{"index": 0}\n'):
        out.write_text(text)
        with pytest.raises(PlanError, match="give another --output"):
            run(work(folder, rows, out), opener)
        assert out.read_text() == text


def test_two_processes_do_not_write_one_output(
    made: Inference, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    hold = "import fcntl,sys; f=open(sys.argv[1],'a'); fcntl.flock(f, fcntl.LOCK_EX); "
    hold += "print(1, flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(made.output)], **pipes) as other:  # type: ignore[call-overload]
        other.stdout.readline()
        with pytest.raises(MachineError, match="another process"):
            run(made, opener)
        other.stdin.close()


def test_a_part_that_is_not_there_is_said(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    for rows, says in (("nano-orders", "no part `tset`"), (None, "has no parts")):
        name = rows or str(chat_rows(tmp_path / "rows.jsonl", 2))
        it = Inference(
            served=served(str(folder)), rows=name, split="tset", output=tmp_path / "out.jsonl"
        )
        with pytest.raises(DataError, match=says):
            run(it, opener)
    assert not (tmp_path / "out.jsonl").exists()


def test_an_engine_that_fails_ends_the_work_and_keeps_the_lines(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    """A failure of ours is not written down as if the row were at fault."""

    class Failing(TorchEngine):
        steps = 0

        def _step(self, pieces: Any) -> None:
            self.steps += 1
            if self.steps == 30:
                raise RuntimeError("out of memory")
            super()._step(pieces)

    rows, out = chat_rows(tmp_path / "rows.jsonl", 40), tmp_path / "out.jsonl"
    it = work(folder, rows, out)
    with pytest.raises(MachineError, match="out of memory"):
        run(it, lambda: Failing(it.served, Torch(max_batch=4)))
    there = lines(out)
    assert 0 < len(there) < 40
    assert all("response" in line for line in there)
    assert run(it, opener).before == len(there)


def test_equal_rows_with_a_seed_may_differ_and_do_not_by_chance(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"query": "tree"}] * 6)
    sampling = Sampling(seed=5, max_tokens=6)
    for name in ("a", "b"):
        run(work(folder, rows, tmp_path / name, sampling=sampling), opener)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len({line["response"] for line in lines(tmp_path / "a")}) > 1


def test_a_full_disk_is_said_and_the_work_goes_on_later(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    rows, out = chat_rows(tmp_path / "rows.jsonl", 12), tmp_path / "out.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, before[1]))
    try:
        with pytest.raises(MachineError, match="cannot write"):
            run(work(folder, rows, out), opener)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert out.stat().st_size == 1_500
    there = out.read_bytes().count(b"\n")
    assert run(work(folder, rows, out), opener).before == there > 0
    assert [line["index"] for line in lines(out)] == list(range(12))


def test_a_folder_that_cannot_be_written_is_the_machines_matter(
    folder: Path, opener: Callable[[], Engine], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    rows = chat_rows(tmp_path / "rows.jsonl", 2)
    with pytest.raises(MachineError, match="cannot write"):
        run(work(folder, rows, tmp_path / "file" / "out.jsonl"), opener)


def test_the_input_is_never_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = '{"prompt": "a"}\n'
    (tmp_path / "in.jsonl").write_text(rows)
    words = ["infer", "nano", "--input", "in.jsonl", "--output", "./in.jsonl", "--overwrite"]
    assert main(words) == 2
    assert (tmp_path / "in.jsonl").read_text() == rows
