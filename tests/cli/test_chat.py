"""`swift chat`: by a pipe, in one message, and on a terminal."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from swift.chat.message import Message
from swift.checkpoint import served
from swift.cli.main import main
from swift.engine import Delta, Request, Sampling
from swift.engine._torch import TorchEngine
from swift.engine.torch import Torch
from swift.run.talk import Talk
from tests.kit import tiny_chat_model

SHORT = Sampling(temperature=0.0, max_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


class Heard(TorchEngine):
    """Remembers the prompts it gets."""

    prompts: list[list[int]]

    def submit(self, request: Request, deliver: Callable[[Delta], None]) -> Callable[[], None]:
        cancel = super().submit(request, deliver)
        self.prompts.append(list(request.ids))
        return cancel


@pytest.fixture
def engine(folder: Path) -> Iterator[Heard]:
    opened = Heard(served(str(folder)), Torch())
    opened.prompts = []
    yield opened
    opened.close()


def say(talk: Talk, text: str) -> str:
    told: list[str] = []
    talk.ask(text, told.append)
    return "".join(told)


def test_a_second_question_is_sent_with_the_first_and_its_answer(engine: Heard) -> None:
    talk = Talk(engine, SHORT, system="be kind", note=print)
    first = say(talk, "red tree")
    say(talk, "why?")
    before, after = engine.prompts
    assert after[: len(before)] == before
    assert after == engine.speaker.chat(
        [
            Message(role="system", content="be kind"),
            Message(role="user", content="red tree"),
            Message(role="assistant", content=first),
            Message(role="user", content="why?"),
        ]
    )


def test_undo_takes_a_question_and_its_answer_back(engine: Heard) -> None:
    talk = Talk(engine, SHORT, note=print)
    say(talk, "red tree")
    say(talk, "why?")
    assert talk.undo()
    say(talk, "why?")
    assert engine.prompts[1] == engine.prompts[2]
    assert talk.undo() and talk.undo() and not talk.undo()


def test_a_full_context_forgets_the_oldest_turns_aloud_but_never_the_system_text(
    engine: Heard,
) -> None:
    notes: list[str] = []
    talk = Talk(engine, SHORT, system="be kind", note=notes.append)
    for number in range(6):
        say(talk, f"{number} " + "under the river " * 4)
    assert notes and all(note.startswith("the context is full: the 2 oldest") for note in notes)
    last = engine.speaker.tokenizer.decode(engine.prompts[-1])
    assert "be kind" in last and "\n5 under" in last and "\n0 under" not in last
    assert all(len(ids) + 6 <= 256 for ids in engine.prompts)


def test_a_smaller_context_of_the_engine_is_found_by_its_refusal(folder: Path) -> None:
    opened = Heard(served(str(folder)), Torch(context=100))
    opened.prompts = []
    notes: list[str] = []
    try:
        talk = Talk(opened, SHORT, note=notes.append)
        for number in range(4):
            say(talk, f"{number} under the river")
    finally:
        opened.close()
    assert len(opened.prompts) == 4 and notes


def test_a_model_without_template_goes_on_with_each_text(folder: Path, tmp_path: Path) -> None:
    bare = tiny_chat_model(tmp_path)
    config = json.loads((bare / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    opened = Heard(served(str(bare)), Torch())
    opened.prompts = []
    try:
        talk = Talk(opened, SHORT, note=print)
        assert talk.plain
        say(talk, "red tree")
        say(talk, "why?")
        assert opened.prompts == [opened.speaker.text(text) for text in ("red tree", "why?")]
    finally:
        opened.close()


def test_a_saved_conversation_is_a_row_of_a_data_set(engine: Heard, tmp_path: Path) -> None:
    talk = Talk(engine, SHORT, system="be kind", note=print)
    answer = say(talk, "red tree")
    talk.save(tmp_path / "row.jsonl")
    turns = json.loads((tmp_path / "row.jsonl").read_text())["messages"]
    assert [t["role"] for t in turns] == ["system", "user", "assistant"]
    assert turns[2]["content"] == answer


# --- the command ---------------------------------------------------------------------------------


def test_one_message_is_answered_on_stdout_and_nothing_else(
    folder: Path, engine: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", str(folder), "--message", "red tree", "--max_tokens", "6"]) == 0
    assert capsys.readouterr().out == say(Talk(engine, SHORT, note=print), "red tree") + "\n"


def test_a_template_by_name_and_what_it_may_read_are_taken(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jinja = tmp_path / "told.jinja"
    jinja.write_text("{{ messages[0].content }}{% if not enable_thinking %} no thoughts{% endif %}")
    words = ["chat", str(folder), "--template", str(jinja), "--max_tokens", "4", "--message", "is"]
    assert main(words) == main([*words, "--enable_thinking", "false"]) == 0
    quiet = capsys.readouterr().out
    assert main([*words, "--enable_thinking", "true"]) == 0
    loud = capsys.readouterr().out
    assert quiet == 2 * quiet[: len(quiet) // 2]
    assert loud != quiet[: len(quiet) // 2]
    assert main([*words, "--enable_thinking", "perhaps"]) == 2
    assert "`perhaps` is neither true nor false" in capsys.readouterr().err


def test_a_pipes_lines_are_turns_of_one_conversation(
    folder: Path,
    engine: Heard,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("red tree\n\n/help\nwhy?"))
    assert main(["chat", str(folder), "--max_tokens=6", "--system", "be kind"]) == 0
    talk = Talk(engine, SHORT, system="be kind", note=print)
    expected = "".join(say(talk, text) + "\n" for text in ("red tree", "/help", "why?"))
    assert capsys.readouterr().out == expected


def test_bytes_that_are_no_text_are_refused_in_words(folder: Path) -> None:
    for encoding in ("utf-8", "utf-8:surrogateescape"):  # as most terminals and as the C locale
        done = subprocess.run(
            [sys.executable, "-m", "swift", "chat", str(folder)],
            input=b"\xff\xfe\n",
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"not UTF-8" in done.stderr and b"Traceback" not in done.stderr


def test_no_model_means_nano_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["chat", "--message", "hello", "--max_tokens", "2"]) == 0
    assert "no model given, so `nano` is used" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["chat", "infer", "eval"])
def test_all_wrong_options_are_told_with_their_repairs(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--temprature 1 --top_p 3 --top-k x --logit_bias [ --sed 4".split()
    assert main([verb, "nano", *words]) == 2
    err = capsys.readouterr().err
    for said in ("write `--temperature`", "--top_p: ", "--top_k: ", "--logit_bias: ", "`--seed`"):
        assert said in err, said


@pytest.mark.parametrize("verb", ["chat", "infer", "eval"])
def test_help_lists_every_sampling_option_with_its_whole_text(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    for name in set(Sampling.model_fields) - {"logprobs"}:
        assert f"--{name} " in out
    assert "greedy (temperature 0), unless an option says otherwise" in out
    assert "null: as many as the context holds." in out
    assert "--engine.max_batch" in out


# --- on a terminal -------------------------------------------------------------------------------

AS_TERMINAL = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from swift.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
)


class Terminal:
    """A swift on a terminal of its own; its stderr goes there too."""

    def __init__(self, words: list[str], **env: str) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        said = {**os.environ, "TERM": "xterm", **env}
        command = [sys.executable, "-c", AS_TERMINAL, *words]
        streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self.process = subprocess.Popen(command, start_new_session=True, env=said, **streams)
        os.close(theirs)
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK)
        self.seen = ""
        self._mark = 0

    def type(self, text: str) -> None:
        self._mark = len(self.seen)
        os.write(self._ours, text.encode())

    def until(self, done: Callable[[str], bool]) -> str:
        """Return what came since the last key, once it is `done`."""
        end = time.monotonic() + 60
        while not done(self.seen[self._mark :]):
            assert time.monotonic() < end, self.seen
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._ours, 65536).decode("utf-8", "replace")
                except OSError:  # it has left
                    assert done(self.seen[self._mark :]), self.seen
        return self.seen[self._mark :]

    def pressed(self, key: str) -> int:
        """Press a key until it has left; return the exit code.

        A terminal that is just being set up for a prompt may lose one.
        """
        for _ in range(60):
            self.type(key)
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=1)
        raise AssertionError(self.seen)

    def end(self) -> int:
        """Return the exit code, once it has left."""
        return self.process.wait(timeout=60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str, **env: str) -> Terminal:
        opened.append(Terminal(list(words), **env))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A model whose answers take a minute."""
    folder = tiny_chat_model(tmp_path / "endless")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 60_000}))
    return str(folder)


def test_ctrl_c_stops_an_answer_and_the_talk_goes_on(
    endless: str, terminal: Callable[..., Terminal]
) -> None:
    it = terminal("chat", endless, "--ignore_eos")
    it.until(lambda text: "> " in text)
    for question in ("red tree", "why?"):
        it.type(f"{question}\r")
        it.until(lambda text: len(text) > 200)
        it.type("\x03")
        after = it.until(lambda text: "(stopped)" in text and "> " in text.split("(stopped)")[1])
        assert "Traceback" not in after
    it.type("\x04")
    assert it.end() == 0


def test_a_second_ctrl_c_at_the_prompt_leaves(
    endless: str, terminal: Callable[..., Terminal]
) -> None:
    it = terminal("chat", endless, "--ignore_eos")
    it.until(lambda text: "> " in text)
    it.type("red tree\r")
    it.until(lambda text: len(text) > 200)
    it.type("\x03")
    it.until(lambda text: "(stopped)" in text and "> " in text.split("(stopped)")[1])
    assert it.pressed("\x03") == 0


def test_commands_on_a_terminal(
    folder: Path, tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    it = terminal("chat", str(folder), "--max_tokens", "4", NO_COLOR="1")
    it.until(lambda text: "> " in text)

    def command(text: str, says: str) -> None:
        it.type(f"{text}\r")
        it.until(lambda seen: says in seen and seen.rstrip(" ").endswith(">"))

    command("/help", "/save FILE")
    command("/system be kind", "the model is told that first")
    command("/undo", "there is no question yet")
    command("red tree", "\n")
    command(f"/save {tmp_path}/talk.json", "saved ")
    command(f"/save {tmp_path}/talk.json", "is there already")
    command("/clear", "forgotten")
    command("/nonsense", "there is no `/nonsense`")
    assert "\033[2m" not in it.seen
    it.type("/exit\r")
    assert it.end() == 0
    turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [t["role"] for t in turns] == ["system", "user", "assistant"]
