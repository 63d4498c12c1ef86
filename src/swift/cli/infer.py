"""`swift infer`: an answer to each row of a data set, in a file."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path

from swift.cli.opened import Asked, page, read
from swift.cli.progress import Progress
from swift.core.errors import Problem, UserError

_OWN = ("input", "dataset", "split", "output", "overwrite")

_HEAD = """usage: swift infer MODEL --input rows.jsonl --output out.jsonl [--key value ...]

Answer each row, one line of the output for one row, in order. Stopped or killed, and started again
with the same words, it goes on where it was. Lines hold index, messages (or prompt), response,
labels (the row's own answer, which the model does not see), finish_reason and usage; a row that
asks nothing has `error` instead.

  --input FILE    rows in any format that is trained on; an answer at their end is left out. A row
                  of `prompt` alone is plain text to go on with
  --dataset NAME  rows of a data set by its name, NAME#500 for 500 of them
  --split NAME    part of a generated data set: train, validation = train
  --output FILE   where the answers go, with a FILE.meta.json beside that tells how they were made
  --overwrite     begin anew, whatever is there
"""


def main(verb: str, words: list[str]) -> int:
    """Answer all rows and return the exit code: 0, or 130 where a signal stopped it.

    Raises:
        SwiftError: The words, the data, the model or the output stand in the way.
    """
    asked = read(verb, words, _OWN, ("overwrite",))
    if asked is None:
        print(page(_HEAD))
        return 0
    rows, output = _files(asked)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C
    work = asked.inference(rows, output, split=asked.own["split"] or "")
    done = import_module("swift.run.infer").infer(work, asked.open, Progress())
    if done.errors:
        print(f"{done.errors} rows have no answer; their lines say why", file=sys.stderr)
    print(f"{done.rows} rows: {output}")
    return 0


def _files(asked: Asked) -> tuple[str, Path]:
    """Return the rows' name and the output."""
    given = [asked.own[name] for name in ("input", "dataset") if asked.own[name]]
    problems: list[Problem] = []
    if len(given) != 1:
        what = "it takes --input or --dataset, one of them"
        problems.append(Problem(what=what, fix="--input rows.jsonl"))
    if not asked.own["output"]:
        problems.append(Problem(what="no --output says where the answers go", fix="--output F"))
    if problems:
        raise UserError(problems)
    output = Path(asked.own["output"]).expanduser()
    if output.is_dir():
        what = f"{output} is a folder"
        raise UserError(Problem(where="--output", what=what, fix=f"--output {output}/out.jsonl"))
    return given[0], output
