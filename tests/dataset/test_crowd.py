"""Several processes give what one gives, and one that dies is an error in words."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.chat.message import Message, Sample
from swift.chat.source import load
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.core.errors import DataError, MachineError
from swift.dataset import crowd, encode
from swift.dataset.report import Report
from tests.kit import tiny_chat_model

Models = tuple[Template, Tokenizer]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tiny_chat_model(tmp_path_factory.mktemp("model"))
    return load(folder), Tokenizer.load(folder)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "CHUNK", 7)


def samples(count: int) -> Iterator[Sample]:
    for number in range(count):
        turns = [("user", f"q{number}"), ("assistant", "é" * (number % 50))]
        chosen = tuple(Message(role=role, content=text) for role, text in turns)
        yield Sample(chosen=chosen, text="" if number % 9 else "seven", origin=f"x.jsonl:{number}")


def made(
    models: Models, rows: Iterator[Sample], processes: int | None, on_long: str = "drop"
) -> tuple[str, Report, list[str]]:
    report = Report()
    encoded = encode.encode(
        rows,
        *models,
        pairs=False,
        supervise="answers",
        max_length=60,
        on_long=on_long,  # type: ignore[arg-type]
        report=report,
        processes=processes,
    )
    return encoded.fingerprint(), report, list(encoded.origins)


@pytest.mark.parametrize("processes", [2, 3, None])
def test_several_processes_give_what_one_gives(
    models: Models, processes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "ALONE", 3)
    monkeypatch.setattr(crowd, "cores", lambda: 2)
    alone = made(models, samples(300), 1)
    assert alone[1].counts["too-long"] > 9
    assert made(models, samples(300), processes) == alone


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_chunks_than_processes_are_enough(models: Models, count: int) -> None:
    assert made(models, samples(count), 2, "truncate") == made(
        models, samples(count), 1, "truncate"
    )


def failing(count: int, wrong: int) -> Iterator[Sample]:
    for number, sample in enumerate(samples(count)):
        if number == wrong:
            raise DataError("the disk of row FDD0 is gone")
        yield sample


@pytest.mark.parametrize(("wrong", "named"), [(100, "x.jsonl:24"), (22, "FDD0")])
def test_the_first_row_that_is_wrong_is_named_as_by_one_process(
    models: Models, wrong: int, named: str
) -> None:
    said = []
    for processes in (1, 2):
        with pytest.raises(DataError, match=named) as caught:
            made(models, failing(300, wrong), processes, "fail")
        said.append(str(caught.value))
    assert said[0] == said[1]


def noted(monkeypatch: pytest.MonkeyPatch) -> list[crowd._Child]:
    """Return a list to which every process that is started is added."""
    children: list[crowd._Child] = []
    begin = crowd._Child.__init__

    def note(self: crowd._Child) -> None:
        begin(self)
        children.append(self)

    monkeypatch.setattr(crowd._Child, "__init__", note)
    return children


def test_a_process_that_dies_is_an_error_in_words(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = noted(monkeypatch)

    def rows() -> Iterator[Sample]:
        for number, sample in enumerate(samples(9000)):
            if number == 100:
                os.kill(children[0]._process.pid, signal.SIGKILL)
            yield sample

    with pytest.raises(MachineError, match=r"ended by SIGKILL[\s\S]*data.num_proc: 1"):
        made(models, rows(), 3)
    assert [child._process.returncode for child in children] == [-9, -9]


def test_stopping_ends_all_processes(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    children = noted(monkeypatch)

    def rows() -> Iterator[Sample]:
        for number, sample in enumerate(samples(9000)):
            if number == 300:
                raise KeyboardInterrupt
            yield sample

    with pytest.raises(KeyboardInterrupt):
        made(models, rows(), 3)
    assert [child._process.poll() is not None for child in children] == [True, True]


def test_a_process_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import swift.dataset.crowd, swift.chat.tokenize, tokenizers, numpy, sys; "
    code += "assert not {'torch', 'transformers', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
