"""The guide asks what is not said, in two languages, and shows all it will do."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from swift.cli import guide
from swift.cli.main import main
from swift.cli.program import program
from swift.cli.words import _texts, table
from swift.core import yaml


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIFT_LANG", "en")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(guide, "program", lambda: "swift")
    return tmp_path


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def recipe_in(out: str) -> dict[str, object]:
    """Return the recipe that was printed, indented by two."""
    text = out.split("The recipe (")[1].split("\n\n", 1)[1].split("\n\nWhat will be run:")[0]
    document = yaml.parse("\n".join(line[2:] for line in text.splitlines()), name="shown")
    assert document.problems == ()
    return dict(document.tree)


def commands_in(out: str) -> list[str]:
    rest = out.split("What will be run:\n\n")[1].split("\n\n")[0]
    return [line.strip() for line in rest.splitlines()]


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Note the commands that the guide carries out, instead of carrying them out."""
    noted: list[Sequence[str]] = []

    def note(verb: str, words: Sequence[str]) -> int:
        noted.append((verb, *words))
        return 0

    monkeypatch.setattr("swift.cli.train.main", note)
    monkeypatch.setattr(guide, "_become", lambda words: note(words[0], words[1:]))
    return noted


def test_every_question_is_answered_by_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ran: list[Sequence[str]]
) -> None:
    answer(monkeypatch, "nano", "dpo", "nano-preferences", "none", "yes", "0", "yes")
    assert main(["guide"]) == 0
    out = capsys.readouterr().out
    assert recipe_in(out) == {
        "model": "nano",
        "method": "dpo",
        "dataset": "nano-preferences",
        "parallel": "none",
        "output_dir": "runs/nano-dpo-001",
    }
    words = [("dpo", "runs/nano-dpo-001.yaml"), ("serve", "runs/nano-dpo-001", "--port", "0")]
    assert ran == words
    assert commands_in(out) == ["swift " + " ".join(w) for w in words]
    assert Path("runs/nano-dpo-001.yaml").is_file()


def test_flags_are_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "", "no", "no")
    flags = ["--model", "nano", "--task", "dpo", "--strategy", "none"]
    assert main(["guide", *flags]) == 0
    out = capsys.readouterr().out
    assert "Which model" not in out
    assert "What shall it learn" not in out
    assert "Which data (a name or a file)? [nano-preferences]" in out
    assert "On which port" not in out, "nothing is served, so no port is asked for"
    assert commands_in(out) == ["swift dpo runs/nano-dpo-001.yaml"]
    assert out.endswith("Nothing was done.\n")
    assert not Path("runs").exists()


def test_yes_asks_nothing_and_a_learned_task_uses_its_own_recipe(
    capsys: pytest.CaptureFixture[str], ran: list[Sequence[str]]
) -> None:
    assert main(["guide", "--yes", "--port", "0"]) == 0
    out = capsys.readouterr().out
    assert "?" not in out
    assert recipe_in(out)["tuner"] == {"name": "lora", "rank": 16, "alpha": 32.0}
    assert [words[0] for words in ran] == ["sft", "serve"]


def test_the_end_of_the_input_is_said_and_means_the_defaults(
    capsys: pytest.CaptureFixture[str], ran: list[Sequence[str]]
) -> None:
    assert main(["guide"]) == 0
    assert capsys.readouterr().out.count("(end of input: the default is taken)") == 7
    assert [words[0] for words in ran] == ["sft", "serve"]


def test_a_wrong_answer_is_explained_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(
        monkeypatch, "no-such-model", "nano", "rlhf", "sft", "nowhere.jsonl", "nano-orders", "no"
    )
    assert main(["guide", "--serve", "no", "--strategy", "none"]) == 0
    out = capsys.readouterr().out
    assert "there is no model `no-such-model`" in out
    assert "`rlhf` is none of cpo, dpo, grpo, kto," in out
    assert "there is no data set `nowhere.jsonl`" in out
    assert out.count("Please answer again.") == 3


def test_three_wrong_answers_end_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "nano", "a", "b", "c", "sft")
    assert main(["guide"]) == 2
    assert "`c` is none of cpo, dpo, grpo, kto," in capsys.readouterr().err
    assert not Path("runs").exists()


def test_wrong_flags_are_all_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["guide", "--yes", "--model", "nanno", "--port", port]) == 2
    err = capsys.readouterr().err
    assert "there is no model `nanno`" in err
    assert f"port {port} is taken" in err
    assert main(["guide", "--colour", "blue"]) == 2
    assert "does not take --colour" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "8e3", "８０", "", "9" * 5000])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "--yes", f"--port={port}"]) == 2
    assert capsys.readouterr().out == ""


def test_the_same_answers_mean_the_same_job_until_it_is_finished(
    capsys: pytest.CaptureFixture[str], ran: list[Sequence[str]]
) -> None:
    again = ["guide", "--yes", "--serve", "no"]
    assert main(again) == 0
    Path("runs/nano-sft-001").mkdir()
    assert main(again) == 0
    assert "is this very job, unfinished: it goes on" in capsys.readouterr().out
    assert ran[0] == ran[1] == ("sft", "runs/nano-sft-001.yaml")
    assert main([*again, "--strategy", "none"]) == 0
    assert ran[2] == ("sft", "runs/nano-sft-002.yaml"), "another recipe has another place"
    end = '{"event": "end", "reason": "finished"}\n'
    Path("runs/nano-sft-001/events.jsonl").write_text(end)
    assert main(again) == 0
    assert ran[3] == ("sft", "runs/nano-sft-003.yaml"), "nothing is overwritten"


def test_a_failed_training_serves_nothing(
    monkeypatch: pytest.MonkeyPatch, ran: list[Sequence[str]]
) -> None:
    monkeypatch.setattr("swift.cli.train.main", lambda verb, words: 4)
    assert main(["guide", "--yes"]) == 4
    assert ran == []


def test_the_guide_speaks_chinese_where_the_locale_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SWIFT_LANG")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    answer(monkeypatch, "", "", "", "", "否", "不")
    assert main(["guide"]) == 0
    out = capsys.readouterr().out
    assert "用哪个模型" in out
    assert out.endswith("什么也没有做。\n")


def test_both_languages_say_everything_with_the_same_values() -> None:
    def wanted(text: str) -> set[str]:
        return {part.split("}")[0].split(":")[0] for part in text.split("{")[1:]}

    english, chinese = _texts("en"), _texts("zh")
    assert english.keys() == chinese.keys()
    assert all(english.values())
    assert all(chinese.values())
    assert [k for k in english if wanted(english[k]) != wanted(chinese[k])] == []


def test_a_table_counts_a_chinese_letter_as_two() -> None:
    assert table([("模型", "x"), ("data", "y")]).splitlines() == ["模型  x", "data  y"]


def test_commands_to_copy_name_the_swift_that_is_running(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    scripts = folder / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "swift").write_text("")
    (scripts / "swift").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == ".venv/bin/swift"
    monkeypatch.setenv("PATH", str(scripts))
    assert program() == "swift"
    (scripts / "swift").unlink()
    assert program() == f"{scripts}/python -m swift"


def guided(folder: Path, *flags: str, **more: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "swift", "guide", *flags]
    env = {**os.environ, "SWIFT_LANG": "en", **more}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=folder, env=env, stdin=pipe, stdout=pipe, stderr=pipe)


def test_without_a_terminal_there_is_no_colour_code(folder: Path) -> None:
    with guided(folder, TERM="xterm-256color") as child:
        out, err = child.communicate(b"nope\n\n\n\n\nno\nno\n", timeout=60)
    assert child.returncode == 0, err
    assert b"\x1b" not in out + err
    assert b"\r" not in out + err


def test_bytes_that_are_no_text_are_a_wrong_answer(folder: Path) -> None:
    with guided(folder) as child:
        out, err = child.communicate(b"\xff\xfe\nnano\nsft\n\n\nno\nno\n", timeout=60)
    assert child.returncode == 0, err
    assert b"Please answer again." in out


def test_an_interrupt_ends_it_and_nothing_was_written(folder: Path) -> None:
    with guided(folder) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdin.write(b"nano\n")
        child.stdin.flush()
        while b"nano" not in child.stdout.readline():
            pass
        time.sleep(0.5)  # now it waits for the next answer
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err == b"interrupted\n"
    assert list(folder.iterdir()) == []
