"""`swift guide`: a few plain questions, then a recipe, a run and an API."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from swift.cli.flags import Line, split
from swift.cli.job import QUESTIONS, Job, check, choices, default, job_of
from swift.cli.program import program
from swift.cli.words import word
from swift.core.errors import Problem, SwiftError, UserError
from swift.core.files import cannot_write, write_text
from swift.core.machine import machine

_FLAGS = ("model", "dataset", "task", "method", "strategy", "serve", "port")
_ALONE = frozenset({"yes", "help", "dry_run"})
_TRIES = 3

_USAGE = """usage: swift guide [--model M] [--dataset D] [--task T] [--method METHOD]
                   [--strategy S] [--serve yes|no] [--port P] [--yes] [--dry-run]

Ask what is not said, show the recipe and the commands, then train and serve an API.
Answers may come through a pipe, one a line; at its end the defaults are taken.

  --yes      ask nothing: defaults for all the rest
  --dry-run  show the recipe and the commands, and stop
"""


def main(verb: str, words: list[str]) -> int:
    """Guide through one job and return the exit code.

    Raises:
        UserError: A flag is wrong, or a question was answered wrongly three times.
    """
    line = split(words, alone=_ALONE, many=lambda name: name == "dataset")
    wants_help, line = line.pick("help")
    if wants_help:
        print(_USAGE, end="")
        return 0
    yes, line = line.pick("yes")
    dry, line = line.pick("dry_run")
    said = _flags(line)
    _forgive_odd_letters()
    answers = _answers(said, quiet=bool(yes or dry))
    job = job_of(answers)
    _show(job)
    if dry:
        return 0
    if not yes and _ask("go", answers) == "no":
        print(word("guide.nothing"))
        return 0
    return _carry_out(job)


def _flags(line: Line) -> dict[str, Any]:
    """Return what the flags answer, checked, with every mistake at once."""
    said: dict[str, Any] = {}
    for name in _FLAGS:
        value, line = line.pick(name)
        if value is not None:
            said[name] = value
    strangers = [*line.files, *(f"--{name}" for name, _ in line.flags)]
    if strangers:
        what = f"`swift guide` does not take {' '.join(strangers)}"
        raise UserError(Problem(what=what, fix="`swift guide --help` lists what it takes"))
    if "method" not in said and said.get("task") in choices("method"):
        said["method"] = said.pop("task")  # `--task dpo` names a method
    problems: list[Problem] = []
    sound: dict[str, Any] = {}
    for name, value in said.items():
        try:
            sound[name] = check(name, value, sound)
        except SwiftError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return sound


def _answers(said: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return an answer to every question: what was said, then what is asked (or the defaults)."""
    answers = dict(said)
    if not quiet:
        print(word("guide.machine", devices=machine().describe(), cores=os.cpu_count()))
    for key in QUESTIONS:
        if key in answers:
            continue
        if quiet or (key == "port" and answers["serve"] == "no"):
            answers[key] = default(key, answers)
        else:
            answers[key] = _ask(key, answers)
    return answers


def _ask(key: str, answers: Mapping[str, Any]) -> Any:
    """Return the answer to one question; a wrong one is explained and asked for again.

    Raises:
        UserError: Three wrong answers.
    """
    usual = default(key, answers)
    text = f"{word(f'guide.{key}', choices=', '.join(choices(key)))} [{usual}] "
    for left in reversed(range(_TRIES)):
        try:
            return check(key, _line(text) or usual, answers)
        except SwiftError as error:
            if not left:
                raise
            print(f"{error}\n{word('guide.again')}")
    raise AssertionError("the last try returns or raises")


def _line(prompt: str) -> str:
    """Return one line of the user's, "" at the end of the input; a piped one is shown."""
    try:
        said = input(prompt)
    except EOFError:
        print(word("guide.end"))
        return ""
    if not sys.stdin.isatty():
        print(said)
    return said.strip()


def _forgive_odd_letters() -> None:
    """Bytes that are no text become `?`: an answer that is refused, or a letter that is lost."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _show(job: Job) -> None:
    print(f"\n{word('guide.recipe', path=job.path)}\n")
    print("\n".join(f"  {line}" for line in job.recipe.dump().splitlines()))
    print(f"\n{word('guide.commands')}\n")
    for words in filter(None, (job.train, job.serve)):
        print(f"  {program()} {shlex.join(words)}")
    print()
    if job.goes_on:
        print(word("guide.unfinished", path=job.folder))


def _carry_out(job: Job) -> int:
    """Train, then become the server: a signal to this process reaches it at once."""
    from swift.cli.main import main as swift

    sys.stdout.flush()
    try:
        job.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(job.path.parent, error) from error
    write_text(job.path, job.recipe.dump())
    code = swift(list(job.train))
    if code or not job.serve:
        return code
    return _become(job.serve)


def _become(words: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "swift", *words])
