"""A stream: a window at a time, every sample once a pass, also after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.chat.message import Sample
from swift.cli.main import main
from swift.core.errors import DataError
from swift.dataset.encoded import Encoded
from swift.dataset.report import Report
from swift.run.streamed import Position, Stream
from tests.kit import chat_rows, tiny_chat_model


def encoded(drawn: list[Sample]) -> Encoded:
    """Return a token for each sample; those called `bad` are dropped."""
    good = [sample for sample in drawn if not sample.origin.startswith("bad")]
    return Encoded(
        ids=np.zeros(len(good), np.int32),
        supervised=np.ones(len(good), np.bool_),
        offsets=np.arange(len(good) + 1),
        sides=1,
        origins=[sample.origin for sample in good],
    )


def stream(origins: list[str], size: int) -> Stream:
    def begin() -> Iterator[Sample]:
        return iter([Sample(text="x", origin=origin) for origin in origins])

    return Stream(begin, encoded, size, Report())


def windows(source: Stream, count: int) -> Iterator[tuple[list[str], Position]]:
    """Yield the origins of each window, and where the stream stood before it."""
    for _ in range(count):
        rows, read = source.window()
        yield list(rows.origins), source.at
        at = source.at
        source.at = Position(passes=at.passes, read=at.read + read, window=at.window + 1)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 7), st.integers(1, 12))
def test_every_sample_once_a_pass_wherever_it_is_cut(bad: list[bool], size: int, cut: int) -> None:
    names = [f"{'bad' if is_bad else 'row'} {i}" for i, is_bad in enumerate(bad)]
    good = [name for name in names if name.startswith("row")]
    if not good:
        with pytest.raises(DataError, match="no sample to train on"):
            stream(names, size).window()
        return
    whole = list(windows(stream(names, size), 12))
    again = stream(names, size)
    again.go_to(whole[min(cut, 11)][1])
    assert list(windows(again, 12 - min(cut, 11))) == whole[min(cut, 11) :]
    for number in range(max(at.passes for _, at in whole)):
        seen = [name for names, at in whole if at.passes == number for name in names]
        assert seen == good


# --- runs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    tiny_chat_model(folder / "chat")
    chat_rows(folder / "rows.jsonl", 300)
    return folder


def words(street: Path, name: str, *more: str) -> list[str]:
    run = ["sft", "--model", str(street / "chat"), "--dataset", str(street / "rows.jsonl")]
    run += ["--output_dir", str(street / name), "--streaming", "true", "--batch_size", "2"]
    return [*run, "--lr", "0.01", "--dropout", "0.1", "--keep", "9", *more]


def steps(run: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]


def digest(run: Path, step: int) -> str:
    return sha256(
        (run / f"checkpoint-{step}" / "adapter_model.safetensors").read_bytes()
    ).hexdigest()


def test_a_pass_takes_every_sample_and_the_next_begins(street: Path) -> None:
    assert main(words(street, "passes", "--max_steps", "200")) == 0
    told = steps(street / "passes")
    assert Counter(step["epoch"] for step in told[:150]) == {0.0: 150}
    assert sum(step["samples"] for step in told[:150]) == 300
    assert {step["epoch"] for step in told[150:]} == {1.0}


@pytest.mark.slow
def test_killed_between_windows_and_in_them_it_ends_in_the_same_bytes(street: Path) -> None:
    options = ("--max_steps", "180", "--save_every", "20")
    assert main(words(street, "whole", *options)) == 0
    command = [sys.executable, "-m", "swift", *words(street, "killed", *options)]
    events = street / "killed" / "events.jsonl"
    for after in (30, 70, 165):  # in the first window, in the second, in the second pass
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
            while child.poll() is None:
                if events.exists() and f'"step": {after},' in events.read_text():
                    os.kill(child.pid, signal.SIGKILL)
                    break
    assert main(words(street, "killed", *options)) == 0
    assert digest(street / "killed", 180) == digest(street / "whole", 180)


def test_a_stream_wants_its_length(street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(street, "endless")) == 2
    assert "write `train.max_steps`" in capsys.readouterr().err
    assert main(words(street, "share", "--max_steps", "2", "--validation", "0.1")) == 2
    assert "no share of 0.1 can be held out" in capsys.readouterr().err


def test_a_pass_that_gives_nothing_names_what_its_rows_died_of(
    street: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (street / "bad.jsonl").write_text('{"messages": []}\n' * 5 + "{\n" * 100)
    bad = words(street, "nothing", "--max_steps", "2")
    bad[bad.index("--dataset") + 1] = str(street / "bad.jsonl")
    assert main(bad) == 2
    told = capsys.readouterr().err
    assert "a whole pass over the data gave no sample to train on: 0 samples of 105 rows" in told
    assert "broken-line: 100 (bad.jsonl:6, " in told
    assert "wrong-shape: 5 (" in told
    assert told.rstrip().endswith("fix: write one JSON object a line")
