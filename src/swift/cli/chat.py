"""`swift chat`: a conversation with a model, on a terminal, in one message, or by a pipe."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from swift.cli.opened import page, read
from swift.core import env
from swift.core.errors import DataError, MachineError, Problem, SwiftError

if TYPE_CHECKING:
    from swift.engine import Delta
    from swift.run.talk import Talk

_OWN = ("message", "system")

_HEAD = """usage: swift chat [RUN|MODEL] [--system TEXT] [--message TEXT] [--key value ...]

Talk with a model. On a terminal: /help lists what it understands besides. With --message: one
answer. By a pipe: each line is the user's next turn, each answer goes to stdout.

  --system TEXT   what the model is told first
  --message TEXT  ask this, print the answer, and leave
"""

_COMMANDS = """/system TEXT  tell the model something first; alone: nothing
/undo         forget the last question and its answer
/clear        forget the conversation
/save FILE    write the conversation: a row that `swift sft` can learn
/exit         leave, as Ctrl+D; Ctrl+C stops an answer"""

_CONTROLS = {*range(32), *range(127, 160)} - set(b"\n\t")
_HARMLESS = dict.fromkeys(_CONTROLS, "\N{REPLACEMENT CHARACTER}")
"""A model's words must not command the terminal."""


def main(verb: str, words: list[str]) -> int:
    """Talk and return the exit code: 0, or 130 where Ctrl+C ended what was no terminal's.

    Raises:
        SwiftError: The words or the model stand in the way, or a message cannot be answered.
    """
    asked = read(verb, words, _OWN, ())
    if asked is None:
        print(page(_HEAD))
        return 0
    engine = asked.open()
    try:
        talk: Talk = import_module("swift.run.talk").Talk(
            engine,
            asked.sampling,
            system=asked.own["system"] or "",
            context=asked.context,
            options=asked.options,
            note=_note,
        )
        if talk.plain:
            _note(f"{engine.served.id} has no chat template: it goes on with your text, as it is")
        if asked.own["message"] is not None:
            _answer(talk, asked.own["message"])
        elif sys.stdin.isatty():
            _converse(talk, engine.served.id)
        else:
            for line in _piped():
                _answer(talk, line)
    finally:
        if sys.stdin.isatty():  # who leaves by Ctrl+C often presses it twice
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        engine.close()
    return 0


def _piped() -> Iterator[str]:
    """Yield the lines that say something."""
    try:
        for line in sys.stdin:
            if line.strip():
                yield line.strip("\r\n")
    except UnicodeDecodeError as error:
        problem = Problem(where="stdin", what="not UTF-8", fix="iconv -t UTF-8")
        raise DataError(problem) from error


def _answer(talk: Talk, text: str) -> None:
    """Print one answer; the first that fails ends it all."""
    end = talk.ask(text, _tell)
    print(flush=True)
    if end.finish == "cancelled":
        raise KeyboardInterrupt
    _check(end)


def _check(end: Delta) -> None:
    if end.finish == "error":
        raise MachineError(Problem(what=f"the engine failed: {end.error}"))


def _tell(text: str) -> None:
    """Print a piece of an answer."""
    sys.stdout.write(text.translate(_HARMLESS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _note(text: str) -> None:
    colours = env.colours(terminal=sys.stderr.isatty())
    print(f"\033[2m{text}\033[0m" if colours else text, file=sys.stderr, flush=True)


def _converse(talk: Talk, name: str) -> None:
    """Talk on a terminal until the user leaves."""
    with suppress(ImportError):
        import_module("readline")  # `input` has a history with it
    _note(f"{name}; /help for help, Ctrl+D to leave")
    stopped = False
    while True:
        try:
            text = input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            if stopped:
                return
            stopped = True
            _note("Ctrl+C again, or Ctrl+D, to leave")
            continue
        if text.startswith("/"):
            if not _command(talk, text):
                return
            stopped = False
        elif text.strip():
            stopped = _turn(talk, text)


def _turn(talk: Talk, text: str) -> bool:
    """Ask and show the answer; return whether Ctrl+C stopped it."""
    try:
        end = talk.ask(text, _tell)
        print()
        stopped = end.finish == "cancelled"
        _check(end)
    except KeyboardInterrupt:  # before the first token
        stopped = True
    except SwiftError as error:
        _note(str(error))
        return False
    if stopped:
        _note("(stopped)")
    elif end.finish == "length":
        _note("(cut: max_tokens, or the context is full)")
    return stopped


def _command(talk: Talk, text: str) -> bool:
    """Do what a line with a slash says; return whether to go on."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if word in ("/exit", "/quit"):
        return False
    if word == "/clear":
        talk.turns.clear()
        _note("the conversation is forgotten")
    elif word == "/undo":
        _note("the last question is forgotten" if talk.undo() else "there is no question yet")
    elif word == "/system":
        talk.system = rest
        _note("the model is told that first" if rest else "the model is told nothing first")
    elif word == "/save":
        _save(talk, rest)
    else:
        _note(_COMMANDS if word == "/help" else f"there is no `{word}`\n{_COMMANDS}")
    return True


def _save(talk: Talk, name: str) -> None:
    path = Path(name).expanduser()
    if not name or path.exists():
        _note(f"{path} is there already" if name else "/save FILE")
        return
    try:
        talk.save(path)
    except SwiftError as error:
        _note(str(error))
    else:
        _note(f"saved {path}")
